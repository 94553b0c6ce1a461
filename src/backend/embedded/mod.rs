//! The pipeline in one SQLite file. Talks to no network.
//!
//! Reading order: `schema` (the tables), `store` and `group` (the thread that writes, the group
//! commit), `stream` and `reader`,
//! `retention`, `checkpoint`, `metrics` with `hosts`, `alarms`, `stats`. Several processes may share the file:
//! SQLite's locks order their transactions, and each stage has a lock of its own.

pub mod alarms;
pub mod books;
mod checkpoint;
mod error;
mod group;
mod hosts;
mod identity;
mod metrics;
mod payload;
mod reader;
pub mod reference;
mod retention;
mod schema;
mod shard;
mod stamps;
pub mod stats;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod tips;
mod wal;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use self::books::Books;
use self::{alarms::AlarmStore, payload::Codec, store::Store};
pub use self::{
    checkpoint::Checkpoints, hosts::TOP_HOSTS, metrics::Metrics, reader::Reader, reference::CsvFile,
    stats::ShardStats, stream::Writer,
};
use crate::{
    backend::{
        Backend, Backlog, Datum, Result, SequenceNumber, Shard, ShardId, Stage, StartAt, StoredCheckpoint,
        Stream,
    },
    clock::Clock,
    engine::{provenance::Node, row::HostCount, time::Timestamp},
};

/// The most shards a stream is created with: each costs its readers a connection.
pub const MAX_SHARDS: u32 = 1_000;

/// How to open the file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The database; its companions lie beside it.
    pub path: PathBuf,
    /// Create the file, and its directory, where they are missing.
    pub create: bool,
    /// Shards of the input stream, 1 to [`MAX_SHARDS`]; counts only at creation.
    pub input_shards: u32,
    /// Shards of the output stream, 1 to [`MAX_SHARDS`]; counts only at creation.
    pub output_shards: u32,
    /// How long records are kept, in milliseconds.
    pub retention_ms: i64,
    /// Payload of each stream that is kept, in bytes as stored. Past it, records that the consuming stage has
    /// passed are deleted early, and an append waits while there are none. The file itself may be somewhat larger,
    /// and does not shrink.
    pub max_bytes: u64,
    /// What tells this machine from its clones; empty if nothing does.
    pub machine: String,
    /// How long a reader waits at the tip before it returns an empty batch, in milliseconds.
    pub tip_wait_ms: u64,
    /// The time of day.
    pub clock: Clock,
}

impl Settings {
    /// Four input shards and one output shard, 24 hours, 8 GiB a stream, half a second at the tip.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, clock: Clock) -> Self {
        Self {
            path: path.into(),
            create: true,
            input_shards: 4,
            output_shards: 1,
            retention_ms: 24 * 3_600_000,
            max_bytes: 8 << 30,
            machine: String::new(),
            tip_wait_ms: 500,
            clock,
        }
    }
}

/// The backend in one file. Clones share its thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Embedded {
    store: Arc<Store>,
    codec: Arc<Codec>,
}

impl Embedded {
    /// Opens the file, and creates it where that is asked for.
    ///
    /// # Errors
    /// [`Failed`](crate::backend::BackendError::Failed) if the file is damaged, another application's, a newer
    /// schema's, a directory or out of reach; [`Busy`](crate::backend::BackendError::Busy) if there is no space for
    /// it or another process keeps it locked.
    pub async fn open(settings: Settings) -> Result<Self> {
        let store = store::blocking(move || Store::open(&settings)).await?;
        Ok(Self { store, codec: Arc::default() })
    }

    /// The random id of this node, drawn when the file was created and again when it was carried to another machine.
    #[must_use]
    pub fn node(&self) -> Node {
        self.store.node
    }

    /// The alarms' memory.
    #[must_use]
    pub fn alarms(&self) -> AlarmStore {
        AlarmStore::new(Arc::clone(&self.store))
    }

    /// The heaviest unknown hosts of the windows that start in `from..to`: by window, heaviest first.
    ///
    /// # Errors
    /// What the file gives.
    pub async fn top_hosts(&self, from: Timestamp, to: Timestamp) -> Result<Vec<(Timestamp, HostCount)>> {
        self.store.read(move |conn| hosts::read(conn, from, to)).await
    }

    /// Every application that was ever counted, with whom to contact about it.
    ///
    /// # Errors
    /// What the file gives.
    pub async fn contacts(&self) -> Result<BTreeMap<String, String>> {
        self.store.read(metrics::contacts).await
    }

    /// The books of every shard of `stream`, in one snapshot.
    ///
    /// # Errors
    /// What the file gives.
    pub async fn stream_stats(&self, stream: Stream) -> Result<Vec<ShardStats>> {
        self.store
            .read(move |conn| {
                let snapshot = conn.unchecked_transaction()?;
                stats::of_stream(&snapshot, stream)
            })
            .await
    }

    /// Everything that must add up, in one snapshot.
    ///
    /// # Errors
    /// What the file gives.
    pub async fn books(&self) -> Result<Books> {
        let (node, now) = (self.store.node, self.store.clock.now());
        self.store.read(move |conn| books::read(conn, node, now)).await
    }

    /// Every stage's checkpoints, whoever holds the locks.
    ///
    /// # Errors
    /// What the file gives.
    pub async fn stored_checkpoints(&self) -> Result<Vec<StoredCheckpoint>> {
        self.store.read(stats::checkpoints).await
    }
}

impl Backend for Embedded {
    type Writer = Writer;
    type Reader = Reader;
    type Checkpoints = Checkpoints;
    type Metrics = Metrics;
    type Reference = CsvFile;

    async fn shards(&self, stream: Stream) -> Result<Vec<Shard>> {
        let rows = self.store.read(move |conn| Ok(shard::all(conn, stream)?)).await?;
        let open_or_full =
            |row: &shard::ShardRow| !row.shard.closed || row.books.last_seq > row.books.trimmed_seq;
        Ok(rows.into_iter().filter(open_or_full).map(|row| row.shard).collect())
    }

    async fn writer(&self, stream: Stream) -> Result<Writer> {
        Ok(Writer::new(Arc::clone(&self.store), Arc::clone(&self.codec), stream))
    }

    async fn reader(&self, stream: Stream, shard: &ShardId, start: StartAt) -> Result<Reader> {
        Reader::open(Arc::clone(&self.store), stream, shard.clone(), start).await
    }

    async fn backlog(
        &self,
        stream: Stream,
        shard: &ShardId,
        after: Option<&SequenceNumber>,
    ) -> Result<Backlog> {
        let (shard, after) = (shard.clone(), after.cloned());
        self.store
            .read(move |conn| {
                let snapshot = conn.unchecked_transaction()?;
                stats::backlog(&snapshot, stream, &shard, after.as_ref())
            })
            .await
    }

    async fn checkpoints(&self, stage: Stage) -> Result<Checkpoints> {
        Checkpoints::open(Arc::clone(&self.store), Arc::clone(&self.codec), stage).await
    }

    async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::new(Arc::clone(&self.store)))
    }

    async fn read_metrics(&self, name: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Datum>> {
        let name = name.to_owned();
        self.store.read(move |conn| metrics::read(conn, &name, from, to)).await
    }

    async fn reference(&self, location: &str) -> Result<CsvFile> {
        Ok(CsvFile::new(location))
    }
}
