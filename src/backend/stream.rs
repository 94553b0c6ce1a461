//! What goes into a stream and comes out of it, and the ports that do so. Knows no service.

use std::future::Future;

use bytes::Bytes;

use crate::{
    backend::{Result, SequenceNumber},
    engine::{provenance::Node, time::Timestamp},
};

/// Where to start reading a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest record still kept.
    TrimHorizon,
    /// Only records that arrive from now on.
    Latest,
    /// The record behind this one.
    After(SequenceNumber),
}

/// A record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// 1 to 256 characters.
    pub partition_key: String,
    /// Places the record; without it the MD5 of the partition key does, as Kinesis defines it.
    pub hash_key: Option<u128>,
    /// At most 1 MiB with the partition key.
    pub data: Bytes,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Position in the shard, ascending.
    pub sequence: SequenceNumber,
    /// As appended; empty where the stream strips it.
    pub partition_key: String,
    /// When the stream took it.
    pub arrival: Timestamp,
    /// As appended.
    pub data: Bytes,
}

/// What one read gave.
#[derive(Clone, Debug)]
pub struct Batch {
    /// In the order of the shard; may be empty with more to come.
    pub records: Vec<Incoming>,
    /// The position behind these records. Absent until anything was read, where the backend has no name for the
    /// position in front of the first record.
    pub through: Option<SequenceNumber>,
    /// How far the shard is complete: the running maximum of arrival times read; at the tip of the shard, the time
    /// of asking. Never moves backwards for one reader.
    pub complete_to: Timestamp,
    /// How far behind the tip of the shard this read was, in milliseconds; 0 at the tip.
    pub behind_ms: u64,
    /// The shard is closed and this was its end.
    pub end_of_shard: bool,
}

/// What is known about one file, stored so that a restart goes on behind the last byte sent. Opaque here; `tail`
/// encodes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// The life of the file, unique on the node.
    pub generation: u64,
    /// `tail`'s encoding; empty: forget this source.
    pub state: Vec<u8>,
}

/// What one append takes: records, and the positions of the files they came from.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// In order.
    pub records: Vec<Outgoing>,
    /// Stored with the records in one transaction, or after all of them are acknowledged.
    pub sources: Vec<SourceState>,
}

/// Appends to a stream.
pub trait StreamWriter: Send + 'static {
    /// An append that is ready to be stored.
    type Packed: Clone + Send + Sync;

    /// Does what takes the processor, compression, and asks no service: so it may go on while what was packed before is
    /// stored.
    fn pack(&self, append: Append) -> impl Future<Output = Result<Self::Packed>> + Send + use<Self>;

    /// Appends everything, durably, or fails; after a failure any part may have been appended. Waits while the
    /// stream is full (back-pressure), and says so in the log.
    fn store(&mut self, packed: Self::Packed) -> impl Future<Output = Result<()>> + Send;

    /// Packs and stores.
    fn append(&mut self, append: Append) -> impl Future<Output = Result<()>> + Send {
        let packing = self.pack(append);
        async { self.store(packing.await?).await }
    }

    /// The random id of this producer.
    fn node(&self) -> Node;

    /// Every stored source of this node.
    fn sources(&mut self) -> impl Future<Output = Result<Vec<SourceState>>> + Send;
}

/// Reads one shard.
pub trait StreamReader: Send + 'static {
    /// Nothing more will be appended that anybody waits for: from now on the tip is told at once, if the backend can.
    fn drain(&mut self) {}

    /// The next records; waits a little at the tip and then returns none. Cancel-safe.
    fn next_batch(&mut self) -> impl Future<Output = Result<Batch>> + Send;
}
