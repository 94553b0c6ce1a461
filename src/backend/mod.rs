//! The ports of the pipeline and their types. Knows no service: `embedded` and `aws` do.
//!
//! Two backends with the same guarantees implement [`Backend`]; the contract suite in `tests/it/contract` runs on
//! each. An append is acknowledged only when it would survive a power cut.

pub mod aggregate;
#[cfg(feature = "aws")]
pub mod aws;
pub mod embedded;
mod error;
pub mod lease;
mod record;
mod reference;
pub mod retry;
mod stored;
mod stream;
pub mod work;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub use error::{BackendError, Loss};
pub use reference::{ReferenceStore, Sink, Version};
pub use stored::{StoredCheckpoint, StoredLease};
pub use stream::{Append, Batch, Incoming, Outgoing, SourceState, StartAt, StreamReader, StreamWriter};

pub use crate::engine::metric::{Datum, Series};
use crate::engine::{row::Row, time::Timestamp};

/// Short for results of the ports.
pub type Result<T, E = BackendError> = std::result::Result<T, E>;

/// One of the pipeline's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Records of lines, from `produce` to `analyze`.
    Input,
    /// Parcels of rows, from `analyze` to `deliver`.
    Output,
}

/// A shard's name, `shardId-000000000000` as Kinesis writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub String);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A position in a shard: the sequence number of the last record that was processed, as its backend writes it. Only
/// that backend can tell what it means.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SequenceNumber(pub String);

/// A shard and the part of the 128-bit hash key space it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// First hash key, inclusive.
    pub first_hash: u128,
    /// Last hash key, inclusive.
    pub last_hash: u128,
    /// The shards it was split or merged from, if any: they are read to their end before it.
    pub parents: Vec<ShardId>,
    /// No longer takes records.
    pub closed: bool,
}

impl Shard {
    /// Its share of the hash key space, in billionths.
    #[must_use]
    pub fn share(&self) -> u64 {
        let part = (self.last_hash - self.first_hash) / (u128::MAX / 1_000_000_000);
        u64::try_from(part).unwrap_or(1_000_000_000)
    }
}

/// An amount of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Records.
    pub records: u64,
    /// Their payload, in bytes as appended.
    pub bytes: u64,
}

/// What a shard holds, seen from a position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Ever appended up to the position, whether still kept or not.
    pub before: Amount,
    /// Still kept behind the position.
    pub behind: Amount,
    /// When the oldest record behind the position arrived.
    pub oldest: Option<Timestamp>,
    /// The position of the newest record; absent if the shard never held one.
    pub newest: Option<SequenceNumber>,
}

/// The state of one shard of one stage: opaque here, a consistent cut to the stage that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Processed up to here; absent if nothing was.
    pub position: Option<SequenceNumber>,
    /// The stage's own encoding, with a format version.
    pub state: Vec<u8>,
    /// The shard was read to its end: its children may be read.
    pub ended: bool,
}

/// What a process holds of the shards of its stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The shards that it, and nobody else, may read now.
    pub shards: Vec<ShardId>,
    /// The shards that somebody read to their end.
    pub ended: Vec<ShardId>,
    /// Some shard is neither free nor known to be in living hands: it may be had later.
    pub undecided: bool,
}

/// What became of the outbox that was handed over with a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbox {
    /// Appended to the output stream in the same transaction.
    Sent,
    /// Only stored: to be appended now, and cleared with the next checkpoint.
    Pending,
}

/// A parcel of the output stream, read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Parcel {
    /// `pipeline/epoch/shard/cut/part`: what the ledger remembers.
    pub id: String,
    /// Its datums, computed from its rows.
    pub datums: Vec<Datum>,
    /// Its rows, for what keeps more than numbers: contacts, and unknown hosts by name.
    pub rows: Vec<Row>,
}

/// What a call of [`MetricSink::publish`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Parcels whose datums were added now, but for those that are out of range or refused.
    pub parcels: u64,
    /// Parcels that had been published before.
    pub duplicates: u64,
    /// Datums added.
    pub datums: u64,
    /// Parcels of which nobody knows whether they were added: never resent blindly.
    pub in_doubt: u64,
    /// Calls in doubt that were sent again by the policy, each of which may count twice.
    pub resent: u64,
    /// Datums that the service does not take for their age, or for being too far ahead: reported, and never added.
    pub out_of_range: u64,
    /// Datums that the service refused for good: reported, kept in the ledger, and never added.
    pub refused: u64,
}

/// The stages that hold a lock of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Files to input stream.
    Produce,
    /// Input stream to output stream.
    Analyze,
    /// Output stream to metrics.
    Deliver,
}

impl Stage {
    /// The command's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Analyze => "analyze",
            Self::Deliver => "deliver",
        }
    }
}

/// One opener for each port.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Appends to a stream.
    type Writer: StreamWriter;
    /// Reads one shard.
    type Reader: StreamReader;
    /// Keeps the state of a stage's shards.
    type Checkpoints: CheckpointStore;
    /// Adds to metrics.
    type Metrics: MetricSink;
    /// Keeps the reference data.
    type Reference: ReferenceStore;

    /// The shards of `stream`, closed ones that still hold records included, parents first.
    fn shards(&self, stream: Stream) -> impl Future<Output = Result<Vec<Shard>>> + Send;

    /// Opens `stream` for appending.
    fn writer(&self, stream: Stream) -> impl Future<Output = Result<Self::Writer>> + Send;

    /// Opens one shard for reading. `After` a position that is past retention is [`BackendError::Gone`], and so is a
    /// later read that retention has overtaken. A shard that the stream does not list is [`BackendError::Unlisted`], here
    /// and where it is read.
    fn reader(
        &self,
        stream: Stream,
        shard: &ShardId,
        start: StartAt,
    ) -> impl Future<Output = Result<Self::Reader>> + Send;

    /// What a shard holds, seen from `after` (`None`: in front of the oldest record kept).
    fn backlog(
        &self,
        stream: Stream,
        shard: &ShardId,
        after: Option<&SequenceNumber>,
    ) -> impl Future<Output = Result<Backlog>> + Send;

    /// What of a shard is no longer kept, in front of its oldest record; nothing where the stream does not say.
    fn trimmed(&self, stream: Stream, shard: &ShardId) -> impl Future<Output = Result<Amount>> + Send {
        async move { Ok(self.backlog(stream, shard, None).await?.before) }
    }

    /// Opens the state of `stage`. Where its shards cannot be shared, takes the lock of the stage as well:
    /// [`BackendError::Closed`] if another process holds it. The lock lives as long as what is returned, and ends with
    /// the process whatever happens to it.
    fn checkpoints(&self, stage: Stage) -> impl Future<Output = Result<Self::Checkpoints>> + Send;

    /// Opens the metrics for publishing.
    fn metrics(&self) -> impl Future<Output = Result<Self::Metrics>> + Send;

    /// Sums of the metric `name` in `from..to`, one datum a series and timestamp, in that order.
    fn read_metrics(
        &self,
        name: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Future<Output = Result<Vec<Datum>>> + Send;

    /// Where the reference data `location` (a path, here) is kept.
    fn reference(&self, location: &str) -> impl Future<Output = Result<Self::Reference>> + Send;
}

/// Keeps the state of a stage's shards, and says which of them are for this process to read.
pub trait CheckpointStore: Clone + Send + Sync + 'static {
    /// How often [`hold`](Self::hold) is to be called while any shard is being read.
    fn hold_every(&self) -> Duration;

    /// Renews what this process holds of `shards`, takes what is free up to its fair share, and says what it holds now. A
    /// shard that is missing from the answer was lost to another process. Cancel-safe.
    fn hold(&self, shards: &[Shard]) -> impl Future<Output = Result<Held>> + Send;

    /// Takes every shard, so that this process may replace each cut; [`BackendError::Closed`] if another one is at
    /// work. May wait as long as it takes to see that nobody is.
    fn hold_all(&self, shards: &[Shard]) -> impl Future<Output = Result<()>> + Send;

    /// Takes a shard whoever holds it: for one that somebody else gave this process to read. The other's saves are
    /// refused from now on.
    fn seize(&self, shard: &Shard) -> impl Future<Output = Result<()>> + Send;

    /// Gives up a shard that is not read any more, for another process to take at once.
    fn release(&self, shard: &ShardId) -> impl Future<Output = Result<()>> + Send;

    /// The state of one shard, whoever holds it, and whether its outbox was sent; `None` on the first start.
    fn load(&self, shard: &ShardId) -> impl Future<Output = Result<Option<(Checkpoint, Outbox)>>> + Send;

    /// Replaces the state of one shard, atomically and durably, and appends `outbox` to the output stream in the
    /// same transaction if the backend can; [`BackendError::Closed`] if the shard is another process's by now, or was
    /// taken anew and not loaded since: what is saved builds on what was loaded.
    fn save(
        &self,
        shard: &ShardId,
        checkpoint: Checkpoint,
        outbox: Vec<Outgoing>,
    ) -> impl Future<Output = Result<Outbox>> + Send;
}

/// Adds to metrics.
pub trait MetricSink: Send + 'static {
    /// Adds the datums of every parcel whose id was not published before, and remembers the id.
    fn publish(&mut self, parcels: Arc<[Parcel]>) -> impl Future<Output = Result<Published>> + Send;
}
