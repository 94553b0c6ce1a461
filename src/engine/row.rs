//! Rows: what one cut of one shard publishes about its windows. Sends nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::{counters::Counters, time::Timestamp};

/// The application name under which hosts that nobody owns are counted.
pub const UNKNOWN: &str = "Unknown";

/// One published tally: the requests of one application, contact and response status in one window, as one cut of
/// one shard found them. Counts are additive: rows of the same key sum up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// `pipeline/epoch/shard/cut/index`: a row sent twice is the same row.
    pub row_id: String,
    /// Start of the window (event time), inclusive.
    pub window_start: Timestamp,
    /// End of the window, exclusive.
    pub window_end: Timestamp,
    /// 0 on time, else the number of the cut that corrects.
    pub revision: u64,
    /// The owner of the calling hosts, or [`UNKNOWN`].
    pub application_name: String,
    /// Whom to contact; empty for [`UNKNOWN`].
    pub contact: String,
    /// The response status; absent where the log has `-`.
    pub response: Option<u16>,
    /// Requests.
    pub response_count: u64,
    /// Bytes of the responses' bodies.
    pub bytes: u64,
    /// The heaviest unknown hosts of the window and cut, heaviest first; only on the first row of [`UNKNOWN`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_hosts: Vec<HostCount>,
}

/// How often one host called: at least `count`, at most `count + error` times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostCount {
    /// The host as the log names it, bytes beyond UTF-8 replaced.
    pub host: String,
    /// Requests, a lower bound.
    pub count: u64,
    /// What the bounded sketch may have missed.
    pub error: u64,
}

/// The second kind of row: one shard's books over one window of arrival time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `pipeline/epoch/shard/cut/health`.
    pub row_id: String,
    /// Start of the arrival window, inclusive.
    pub window_start: Timestamp,
    /// End of the arrival window, exclusive.
    pub window_end: Timestamp,
    /// The shard.
    pub shard: String,
    /// The shard's share of the hash space, in billionths.
    pub share: u64,
    /// Whether the window closed within one window's length of real time.
    pub on_time: bool,
    /// What this shard read in the arrival window, as differences to the previous health row.
    pub counters: Counters,
    /// Largest distance between an arrival and the moment it was read, in milliseconds.
    pub lag_ms: u64,
    /// Producers that neither said they are alive nor goodbye.
    pub silent_producers: u64,
}

/// A line of the output stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Output {
    /// `{"kind":"health",…}`.
    Health(Tagged<Health>),
    /// A row, without `kind`.
    Row(Row),
}

/// Adds `"kind":"health"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tagged<T> {
    kind: HealthKind,
    /// The row itself.
    #[serde(flatten)]
    pub row: T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HealthKind {
    Health,
}

impl From<Health> for Output {
    fn from(row: Health) -> Self {
        Self::Health(Tagged { kind: HealthKind::Health, row })
    }
}

impl Output {
    /// Its stable id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Row(row) => &row.row_id,
            Self::Health(tagged) => &tagged.row.row_id,
        }
    }
}

impl From<Row> for Output {
    fn from(row: Row) -> Self {
        Self::Row(row)
    }
}

/// What makes the ids of one engine's rows unique: `pipeline/epoch/shard`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The name of the pipeline.
    pub pipeline: String,
    /// Renewed by every start that is not `LAST_STOPPED_POINT`.
    pub epoch: u64,
    /// The input shard.
    pub shard: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.pipeline, self.epoch, self.shard)
    }
}
