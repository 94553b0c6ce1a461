//! Retention, the size bound and its back-pressure, and the books that they keep.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::task::JoinSet;

use super::{Sandbox, append, noise};
use crate::{
    backend::{
        Backend, BackendError, Checkpoint, CheckpointStore, Loss, Outgoing, SequenceNumber, ShardId, Stage,
        StartAt, Stream, StreamReader,
        embedded::{Embedded, Settings},
    },
    clock::Clock,
    engine::time::Timestamp,
};

fn passed(position: &str) -> Checkpoint {
    Checkpoint { position: Some(SequenceNumber(position.to_owned())), state: Vec::new() }
}

fn first() -> ShardId {
    ShardId("shardId-000000000000".to_owned())
}

/// Waits until a stream has warned that it is full.
async fn full(backend: &Embedded) {
    while backend.store.warned.load(Ordering::Relaxed) == i64::MIN {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_stream_waits_for_its_consumer() {
    let sandbox = Sandbox::new();
    let settings = Settings { max_bytes: 250_000, ..sandbox.settings() };
    let backend = Embedded::open(settings).await.unwrap();
    let analyze = backend.checkpoints(Stage::Analyze).await.unwrap();
    for _ in 0..2 {
        append(&backend, Stream::Input, noise(100_000)).await.unwrap();
    }
    let (appending, mut tasks) = (backend.clone(), JoinSet::new());
    tasks.spawn(async move { append(&appending, Stream::Input, noise(100_000)).await });
    full(&backend).await;
    assert!(tasks.try_join_next().is_none());

    let outbox = vec![Outgoing { partition_key: "rows".to_owned(), hash_key: None, data: noise(10).into() }];
    analyze.save(&first(), passed("1"), outbox).await.unwrap();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    let stats = &backend.stream_stats(Stream::Input).await.unwrap()[0];
    assert_eq!((stats.records, stats.appended_records, stats.expired_records), (2, 3, 0));
    assert_eq!((stats.stored_bytes, stats.appended_bytes, &stats.gap), (200_000, 300_000, &None));
    let (oldest, newest) = stats.positions.clone().unwrap();
    assert_eq!((oldest.0.as_str(), newest.0.as_str()), ("2", "3"));
    backend.reader(Stream::Input, &first(), StartAt::After(oldest)).await.unwrap();
}

#[tokio::test]
async fn a_full_output_stream_holds_up_the_cut_that_would_add_to_it() {
    let sandbox = Sandbox::new();
    let settings = Settings { max_bytes: 10_000, ..sandbox.settings() };
    let backend = Embedded::open(settings).await.unwrap();
    let analyze = backend.checkpoints(Stage::Analyze).await.unwrap();
    let outbox =
        || vec![Outgoing { partition_key: "rows".to_owned(), hash_key: None, data: noise(6_000).into() }];
    analyze.save(&first(), passed("1"), outbox()).await.unwrap();
    let (saving, mut tasks) = (analyze.clone(), JoinSet::new());
    tasks.spawn(async move { saving.save(&first(), passed("2"), outbox()).await });
    full(&backend).await;
    let (held, _) = analyze.load(&first()).await.unwrap().unwrap();
    assert_eq!(held, passed("1"), "neither the cut nor its rows");
    let deliver = backend.checkpoints(Stage::Deliver).await.unwrap();
    deliver.save(&first(), passed("1"), Vec::new()).await.unwrap();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(analyze.load(&first()).await.unwrap().unwrap().0, passed("2"));
}

#[tokio::test]
async fn a_single_append_above_the_bound_passes_when_it_is_alone() {
    let sandbox = Sandbox::new();
    let settings = Settings { max_bytes: 1_000, ..sandbox.settings() };
    let backend = Embedded::open(settings).await.unwrap();
    append(&backend, Stream::Input, noise(5_000)).await.unwrap();
    assert_eq!(backend.stream_stats(Stream::Input).await.unwrap()[0].stored_bytes, 5_000);
}

#[tokio::test]
async fn what_expires_unread_is_in_the_books_and_in_the_message() {
    let sandbox = Sandbox::new();
    let now = Arc::new(AtomicI64::new(1_800_000_000_000));
    let clock = {
        let now = Arc::clone(&now);
        Clock::from_fn(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
    };
    let settings = Settings { clock, ..sandbox.settings() };
    let backend = Embedded::open(settings).await.unwrap();
    let analyze = backend.checkpoints(Stage::Analyze).await.unwrap();
    for _ in 0..5 {
        append(&backend, Stream::Input, b"line\n".repeat(200)).await.unwrap();
        now.fetch_add(1_000, Ordering::SeqCst);
    }
    analyze.save(&first(), passed("2"), Vec::new()).await.unwrap();
    now.fetch_add(24 * 3_600_000, Ordering::SeqCst);
    let stats = loop {
        append(&backend, Stream::Input, b"new\n".to_vec()).await.unwrap();
        let stats = backend.stream_stats(Stream::Input).await.unwrap().remove(0);
        if stats.expired_records > 0 {
            break stats;
        }
    };
    let arrivals =
        Some((Timestamp::from_millis(1_800_000_002_000), Timestamp::from_millis(1_800_000_004_000)));
    let loss = Loss { records: Some(3), bytes: Some(3_000), arrivals };
    assert_eq!((stats.expired_records, stats.expired_bytes, stats.gap), (3, 3_000, Some(loss)));
    let stale = |position: &str| StartAt::After(SequenceNumber(position.to_owned()));
    let opened = backend.reader(Stream::Input, &first(), stale("2")).await;
    assert!(matches!(&opened, Err(BackendError::Gone { loss: found, .. }) if *found == loss));
    insta::assert_snapshot!(
        sandbox.message(opened),
        @"gone: shardId-000000000000 of the input stream no longer holds what follows position 2: 3 records of 3000 bytes, arrived 2027-01-15T08:00:02Z to 2027-01-15T08:00:04Z, passed retention unread; --accept-loss goes on with the oldest record kept"
    );
    insta::assert_snapshot!(
        sandbox.message(backend.reader(Stream::Input, &first(), stale("4")).await),
        @"gone: shardId-000000000000 of the input stream no longer holds what follows position 4: 1 record passed retention unread; --accept-loss goes on with the oldest record kept"
    );
    insta::assert_snapshot!(
        sandbox.message(backend.reader(Stream::Input, &first(), stale("100000")).await).replace(&stats.appended_records.to_string(), "N"),
        @"failed: shardId-000000000000 of the input stream ends at position N, before 100000: it is another file than the one the position is from"
    );
    insta::assert_snapshot!(
        sandbox.message(backend.reader(Stream::Input, &first(), stale("49590338271490256608559692538361571095921575989136588898")).await),
        @r#"failed: "49590338271490256608559692538361571095921575989136588898" is no position in the input stream"#
    );

    let mut reader = backend.reader(Stream::Input, &first(), StartAt::TrimHorizon).await.unwrap();
    let through = reader.next_batch().await.unwrap().through.unwrap();
    analyze.save(&first(), passed(&through.0), Vec::new()).await.unwrap();
    let stats = backend.stream_stats(Stream::Input).await.unwrap().remove(0);
    assert_eq!(
        (stats.expired_records, stats.gap),
        (3, None),
        "the gap is behind the consumer, the loss stays known"
    );
}
