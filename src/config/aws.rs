//! `[aws]` and what else only the AWS backend looks at. Asks no service.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::config::{
    SECOND_MS,
    values::{self, Choice, short},
};

/// `[aws]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aws {
    /// The Kinesis stream of lines.
    #[serde(deserialize_with = "stream")]
    pub input_stream: String,
    /// The Kinesis stream of rows.
    #[serde(deserialize_with = "stream")]
    pub output_stream: String,
    /// The DynamoDB table of leases and cuts, partition key `leaseKey`.
    #[serde(deserialize_with = "table")]
    pub table: String,
    /// The DynamoDB table of what was published, partition key `id`.
    #[serde(deserialize_with = "table")]
    pub ledger: String,
    /// The S3 bucket for larger cuts: each renewal of a lease is paid for by the size of its item. With one, cuts over
    /// 4 KB go there; without, those over 300 KB are refused.
    #[serde(deserialize_with = "bucket")]
    pub bucket: Option<String>,
    /// Whether shards are read by enhanced fan-out.
    pub fan_out: bool,
    /// How long a worker that says nothing keeps its shards.
    #[serde(deserialize_with = "values::duration::<SECOND_MS, {300 * SECOND_MS}, _>")]
    pub lease: Duration,
}

impl Default for Aws {
    fn default() -> Self {
        Self {
            input_stream: "logtally-input".to_owned(),
            output_stream: "logtally-output".to_owned(),
            table: "logtally-leases".to_owned(),
            ledger: "logtally-ledger".to_owned(),
            bucket: None,
            fan_out: false,
            lease: Duration::from_secs(10),
        }
    }
}

/// How the lines of a record travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are: any consumer can read them.
    #[default]
    None,
    /// As one zstd frame.
    Zstd,
}

/// What becomes of a call of which nobody knows whether its datums were added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InDoubt {
    /// Never sent again: `audit --settle` finds out.
    #[default]
    Keep,
    /// Sent again: may count twice.
    Resend,
}

impl Choice for Compression {
    const WHAT: &'static str = "a compression";
    const ALL: &'static [(&'static str, Self)] = &[("none", Self::None), ("zstd", Self::Zstd)];
}

impl Choice for InDoubt {
    const WHAT: &'static str = "a treatment of calls in doubt";
    const ALL: &'static [(&'static str, Self)] = &[("keep", Self::Keep), ("resend", Self::Resend)];
}

fn named<'de, D: Deserializer<'de>>(
    from: D,
    what: &str,
    least: usize,
    most: usize,
) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (least..=most).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(name);
    }
    Err(D::Error::custom(format_args!(
        "\"{}\" cannot name {what}; use {least} to {most} letters, digits, \"_\", \".\" and \"-\"",
        short(&name)
    )))
}

/// Names of streams, as Kinesis has them (`CreateStream`).
fn stream<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    named(from, "a stream", 1, 128)
}

/// Names of tables, as DynamoDB has them (`CreateTable`).
fn table<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    named(from, "a table", 3, 255)
}

/// Names of buckets, as S3 has them (`CreateBucket`).
fn bucket<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    named(from, "a bucket", 3, 63).map(Some)
}
