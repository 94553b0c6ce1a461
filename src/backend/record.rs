//! What a record of a stream may be and where it belongs, whatever keeps it. Keeps none.

use md5::{Digest, Md5};

use crate::backend::{BackendError, Outgoing, Result};

/// The largest record with its partition key, unless a stream allows more (Kinesis API reference, `PutRecords`).
pub(super) const MAX_RECORD: usize = 1024 * 1024;
/// The longest partition key in characters (Kinesis, `PutRecords`).
const MAX_KEY: usize = 256;

/// The hash key of a partition key: its MD5 as a big-endian number (Kinesis, `PutRecord`).
pub(super) fn hash(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key.as_bytes()).into())
}

/// Fails for what no stream takes; `most` is the largest record in bytes, with its partition key.
pub(super) fn check(record: &Outgoing, most: usize) -> Result<()> {
    let refused = |what: String| Err(BackendError::Failed { what, source: None });
    let characters = record.partition_key.chars().count();
    if !(1..=MAX_KEY).contains(&characters) {
        return refused(format!("a partition key has 1 to {MAX_KEY} characters, not {characters}"));
    }
    let size = record.data.len() + record.partition_key.len();
    if size > most {
        return refused(format!("a record has at most {most} bytes with its partition key, not {size}"));
    }
    Ok(())
}
