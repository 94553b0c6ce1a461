//! A backend that gives what a test says, and notes each call in its order. Keeps cuts, and nothing else.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    backend::{
        Amount, Append, Backend, BackendError, Backlog, Batch, Checkpoint, CheckpointStore, Datum, Held,
        Outbox, Outgoing, Result, SequenceNumber, Shard, ShardId, SourceState, Stage, StartAt, Stream,
        StreamReader, StreamWriter, embedded::Embedded,
    },
    engine::{cut::Cut, provenance::Node, time::Timestamp},
};

/// Its clones are one.
#[derive(Clone, Default)]
pub(super) struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    cuts: BTreeMap<ShardId, Checkpoint>,
    /// How opening the shard fails, before it succeeds.
    opening: VecDeque<BackendError>,
    /// Behind the last one there is always an empty one, of the tip.
    batches: VecDeque<Batch>,
    /// How reading on fails once, when these are read, and what was deleted then.
    reading: Option<(BackendError, u64)>,
    /// Bytes that were deleted of the shard, ever.
    trimmed: u64,
    /// Appends fail for good.
    is_full: bool,
    /// A save sends, in one transaction.
    sends: bool,
    complete_to: Timestamp,
    calls: Vec<String>,
}

impl Scripted {
    fn script<T>(&self, with: impl FnOnce(&mut Script) -> T) -> T {
        with(&mut self.0.lock().unwrap())
    }

    pub(super) fn fail_to_open(&self, error: BackendError) {
        self.script(|script| script.opening.push_back(error));
    }

    /// Reading on fails once, when what was given is read; so many bytes of the shard were deleted then.
    pub(super) fn fail_to_read(&self, error: BackendError, trimmed: u64) {
        self.script(|script| script.reading = Some((error, trimmed)));
    }

    pub(super) fn give(&self, batches: impl IntoIterator<Item = Batch>) {
        self.script(|script| script.batches.extend(batches));
    }

    pub(super) fn refuse_appends(&self, refuse: bool) {
        self.script(|script| script.is_full = refuse);
    }

    pub(super) fn send_with_each_save(&self) {
        self.script(|script| script.sends = true);
    }

    /// The calls since the last look: `read`; `save` with what is to be sent, and `end` if the shard is over; `send`.
    pub(super) fn calls(&self) -> Vec<String> {
        self.script(|script| std::mem::take(&mut script.calls))
    }

    pub(super) fn cut(&self, shard: &ShardId) -> Cut {
        self.script(|script| Cut::decode(&script.cuts[shard].state).unwrap())
    }
}

fn ids(records: &[Outgoing]) -> String {
    let keys = records.iter().flat_map(|record| [" ", record.partition_key.as_str()]);
    keys.collect()
}

fn not_of_this<T>() -> Result<T> {
    Err(BackendError::Failed { what: "no test of this order asks for it".to_owned(), source: None })
}

impl Backend for Scripted {
    type Writer = Self;
    type Reader = Self;
    type Checkpoints = Self;
    type Metrics = <Embedded as Backend>::Metrics;
    type Reference = <Embedded as Backend>::Reference;

    async fn shards(&self, _: Stream) -> Result<Vec<Shard>> {
        not_of_this()
    }

    async fn writer(&self, _: Stream) -> Result<Self> {
        Ok(self.clone())
    }

    async fn reader(&self, _: Stream, _: &ShardId, _: StartAt) -> Result<Self> {
        self.script(|script| script.opening.pop_front()).map_or_else(|| Ok(self.clone()), Err)
    }

    async fn backlog(&self, _: Stream, _: &ShardId, _: Option<&SequenceNumber>) -> Result<Backlog> {
        let before = Amount { records: 0, bytes: self.script(|script| script.trimmed) };
        Ok(Backlog { before, ..Backlog::default() })
    }

    async fn checkpoints(&self, _: Stage) -> Result<Self> {
        Ok(self.clone())
    }

    async fn metrics(&self) -> Result<Self::Metrics> {
        not_of_this()
    }

    async fn read_metrics(&self, _: &str, _: Timestamp, _: Timestamp) -> Result<Vec<Datum>> {
        not_of_this()
    }

    async fn reference(&self, _: &str) -> Result<Self::Reference> {
        not_of_this()
    }
}

impl StreamReader for Scripted {
    async fn next_batch(&mut self) -> Result<Batch> {
        self.script(|script| {
            script.calls.push("read".to_owned());
            let complete_to = script.complete_to;
            let empty =
                Batch { records: Vec::new(), through: None, complete_to, behind_ms: 0, end_of_shard: false };
            if script.batches.is_empty()
                && let Some((error, trimmed)) = script.reading.take()
            {
                script.trimmed = trimmed;
                return Err(error);
            }
            let batch = script.batches.pop_front().unwrap_or(empty);
            script.complete_to = batch.complete_to;
            Ok(batch)
        })
    }
}

impl StreamWriter for Scripted {
    type Packed = Vec<Outgoing>;

    fn pack(&self, append: Append) -> impl Future<Output = Result<Self::Packed>> + Send + use<> {
        std::future::ready(Ok(append.records))
    }

    async fn store(&mut self, packed: Self::Packed) -> Result<()> {
        self.script(|script| {
            script.calls.push(format!("send{}", ids(&packed)));
            if script.is_full { not_of_this() } else { Ok(()) }
        })
    }

    fn node(&self) -> Node {
        Node(1)
    }

    async fn sources(&mut self) -> Result<Vec<SourceState>> {
        not_of_this()
    }
}

impl CheckpointStore for Scripted {
    fn hold_every(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn hold(&self, _: &[Shard]) -> Result<Held> {
        not_of_this()
    }

    async fn hold_all(&self, _: &[Shard]) -> Result<()> {
        not_of_this()
    }

    async fn seize(&self, _: &Shard) -> Result<()> {
        Ok(())
    }

    async fn release(&self, _: &ShardId) -> Result<()> {
        Ok(())
    }

    async fn load(&self, shard: &ShardId) -> Result<Option<(Checkpoint, Outbox)>> {
        let found = self.script(|script| script.cuts.get(shard).cloned());
        Ok(found.map(|checkpoint| {
            let is_sent = Cut::decode(&checkpoint.state).unwrap().outbox.is_empty();
            (checkpoint, if is_sent { Outbox::Sent } else { Outbox::Pending })
        }))
    }

    async fn save(&self, shard: &ShardId, checkpoint: Checkpoint, outbox: Vec<Outgoing>) -> Result<Outbox> {
        self.script(|script| {
            let end = if checkpoint.ended { " end" } else { "" };
            script.calls.push(format!("save{end}{}", ids(&outbox)));
            script.cuts.insert(shard.clone(), checkpoint);
            Ok(if outbox.is_empty() || script.sends { Outbox::Sent } else { Outbox::Pending })
        })
    }
}
