//! What passes retention while it is read. The stub's shard holds one record, again and again.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use logtally::{
    backend::{
        Backend, BackendError, StartAt, Stream, StreamReader,
        aws::{Aws, Clients, Settings},
    },
    clock::Clock,
    engine::time::Timestamp,
};

use super::{refusals::shard, stub::Stub};

/// When the stub's record arrived.
const ARRIVAL_MS: i64 = 1_800_000_000_123;
const DAY_MS: i64 = 24 * 3_600_000;

async fn open(stub: &Stub, now: &Arc<AtomicI64>) -> Aws {
    let now = Arc::clone(now);
    let clock = Clock::from_fn(move || Timestamp::from_millis(now.load(Ordering::SeqCst)));
    Aws::open(Clients::new(&stub.config), Settings::new("worker", clock)).await.unwrap()
}

async fn reader(backend: &Aws) -> <Aws as Backend>::Reader {
    let shard = backend.shards(Stream::Input).await.unwrap().remove(0).id;
    backend.reader(Stream::Input, &shard, StartAt::TrimHorizon).await.unwrap()
}

#[tokio::test]
async fn whoever_begins_with_what_is_about_to_go_is_not_told_that_it_went() {
    let stub = Stub::start(shard).await;
    let now = Arc::new(AtomicI64::new(ARRIVAL_MS + DAY_MS - 30_000));
    let mut reader = reader(&open(&stub, &now).await).await;
    for _ in 0..3 {
        assert_eq!(reader.next_batch().await.unwrap().records.len(), 1);
        now.fetch_add(30_000, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_reader_that_was_ahead_and_is_overtaken_says_from_when_on() {
    let stub = Stub::start(shard).await;
    let now = Arc::new(AtomicI64::new(ARRIVAL_MS + 3_600_000));
    let backend = open(&stub, &now).await;
    let mut reader = reader(&backend).await;
    let through = reader.next_batch().await.unwrap().through.unwrap();
    reader.next_batch().await.unwrap();
    now.fetch_add(DAY_MS - 3_600_000, Ordering::SeqCst);
    reader.next_batch().await.unwrap();
    now.fetch_add(1, Ordering::SeqCst);
    let Err(BackendError::Gone { why, loss }) = reader.next_batch().await else { panic!("read over a gap") };
    insta::assert_snapshot!(why, @"shardId-000000000000 of stream logtally-input no longer holds what follows position 7@1800000000123: an unknown number of records, arrived 2027-01-15T08:00:00.123Z to 2027-01-15T08:00:00.124Z, passed retention unread; --accept-loss goes on with the oldest record kept");
    assert_eq!((loss.records, loss.bytes), (None, None));

    let shard = backend.shards(Stream::Input).await.unwrap().remove(0).id;
    let opened = backend.reader(Stream::Input, &shard, StartAt::After(through)).await;
    assert!(matches!(opened, Err(BackendError::Gone { .. })));
}
