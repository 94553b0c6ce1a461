//! What every backend must do, told once and run on each. Knows none of them: each brings a [`Place`].

/// Tests that a place keeps these parts of the contract, each with a place of its own.
macro_rules! contract {
    ($place:expr; $($part:ident::$name:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $part::$name(&$place.await).await;
            }
        )+
    };
}

/// Everything that streams must do.
macro_rules! contract_of_streams {
    ($place:expr) => {
        contract! {
            $place;
            stream::keeps_the_order_within_a_shard,
            stream::gives_back_what_was_appended,
            stream::divides_the_whole_hash_space,
            stream::places_by_hash_key_or_md5,
            stream::keeps_what_it_acknowledged,
            stream::starts_where_it_is_told,
            stream::refuses_a_shard_it_does_not_have,
            stream::refuses_what_kinesis_would,
            stream::is_complete_to_the_time_of_asking_at_the_tip,
            stream::stamps_arrivals_in_order_whatever_the_clock_does,
            stream::reads_what_several_processes_append,
            stream::never_gives_what_it_declared_complete,
            stream::takes_appends_at_once,
            stream::loses_nothing_when_a_read_is_cancelled,
            stream::says_what_is_gone,
            stream::stores_sources_with_their_records,
        }
    };
}

#[cfg(feature = "aws")]
mod aws;
mod embedded;
mod state;
mod stream;

use std::{future::Future, sync::Arc, sync::atomic::AtomicI64, sync::atomic::Ordering, time::Duration};

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

    /// Whether the stream stamps arrivals by [`clock`](Self::clock); else by one of its own, that cuts them off to
    /// full seconds.
    fn stamps_by_clock(&self) -> bool {
        true
    }

    /// Whether sequence numbers tell how many records are gone; else only how long ago they were.
    fn counts_what_is_gone(&self) -> bool {
        true
    }

    /// The longest partition key: 256 characters, of two bytes each where the double of a service does not count bytes.
    fn longest_key(&self) -> String {
        "ü".repeat(256)
    }

    /// The longest that a read is waited for before it is cancelled.
    fn patience(&self) -> Duration {
        Duration::from_millis(2)
    }
}

/// A clock that is moved by tests: one that stands until then, or one that goes as well.
#[derive(Clone, Debug)]
pub(crate) struct TestClock {
    moved: Arc<AtomicI64>,
    goes: bool,
}

impl TestClock {
    pub(crate) fn new() -> Self {
        Self { moved: Arc::new(AtomicI64::new(1_800_000_000_000)), goes: false }
    }

    /// The system's time.
    #[cfg(feature = "aws")]
    pub(crate) fn going() -> Self {
        Self { moved: Arc::default(), goes: true }
    }

    pub(crate) fn clock(&self) -> Clock {
        let clock = self.clone();
        Clock::from_fn(move || clock.now())
    }

    pub(crate) fn now(&self) -> Timestamp {
        let moved = self.moved.load(Ordering::SeqCst);
        if self.goes { Clock::system().now().plus_millis(moved) } else { Timestamp::from_millis(moved) }
    }

    pub(crate) fn advance(&self, millis: i64) {
        self.moved.fetch_add(millis, Ordering::SeqCst);
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
