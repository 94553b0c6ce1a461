//! What every backend must do, told once and run on each. Knows none of them: each brings a [`Place`].

mod embedded;
mod state;
mod stream;

use std::{future::Future, sync::Arc, sync::atomic::AtomicI64, sync::atomic::Ordering};

use bytes::Bytes;
use logtally::{
    backend::{
        Append, Backend, Incoming, Outgoing, SequenceNumber, Shard, ShardId, StartAt, Stream, StreamReader,
        StreamWriter,
    },
    clock::Clock,
    engine::time::Timestamp,
};

/// Somewhere a backend keeps its data, empty at first, with four input shards and one output shard.
pub(crate) trait Place: Sync {
    /// The backend.
    type Backend: Backend;

    /// Opens what is there, as one more process would.
    fn open(&self) -> impl Future<Output = Self::Backend> + Send;

    /// The clock that the backend was given.
    fn clock(&self) -> &TestClock;

    /// Lets everything that is in the stream now pass retention, and be deleted.
    fn expire(&self, backend: &Self::Backend, stream: Stream) -> impl Future<Output = ()> + Send;
}

/// A clock that stands until it is moved.
#[derive(Clone, Debug)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000_000)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Clock::from_fn(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

pub(crate) fn record(key: &str, data: impl Into<Bytes>) -> Outgoing {
    Outgoing { partition_key: key.to_owned(), hash_key: None, data: data.into() }
}

pub(crate) fn placed(hash_key: u128, data: impl Into<Bytes>) -> Outgoing {
    Outgoing { hash_key: Some(hash_key), ..record("key", data) }
}

pub(crate) async fn append<B: Backend>(backend: &B, stream: Stream, records: Vec<Outgoing>) {
    let append = Append { records, sources: Vec::new() };
    backend.writer(stream).await.unwrap().append(append).await.unwrap();
}

/// Reads a shard from `start` until a read finds nothing; the position behind it all.
pub(crate) async fn drain<B: Backend>(
    backend: &B,
    stream: Stream,
    shard: &ShardId,
    start: StartAt,
) -> (Vec<Incoming>, Option<SequenceNumber>) {
    let mut reader = backend.reader(stream, shard, start).await.unwrap();
    let mut records = Vec::new();
    loop {
        let batch = reader.next_batch().await.unwrap();
        if batch.records.is_empty() {
            return (records, batch.through);
        }
        assert_eq!(batch.through.as_ref(), batch.records.last().map(|record| &record.sequence));
        records.extend(batch.records);
    }
}

/// Every record of every shard.
pub(crate) async fn drain_all<B: Backend>(backend: &B, stream: Stream) -> Vec<(Shard, Vec<Incoming>)> {
    let mut all = Vec::new();
    for shard in backend.shards(stream).await.unwrap() {
        let (records, _) = drain(backend, stream, &shard.id, StartAt::TrimHorizon).await;
        all.push((shard, records));
    }
    all
}

pub(crate) fn texts(records: &[Incoming]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect()
}
