//! Retention, the size bound and its back-pressure, and the books that they keep.

use std::sync::atomic::Ordering;

use tokio::task::JoinSet;

use super::{Sandbox, append, noise};
use crate::backend::{
    Backend, Checkpoint, CheckpointStore, Outgoing, SequenceNumber, ShardId, Stage, StartAt, Stream,
    embedded::{Embedded, Settings},
};

pub(super) fn passed(position: &str) -> Checkpoint {
    Checkpoint { position: Some(SequenceNumber(position.to_owned())), state: Vec::new(), ended: false }
}

pub(super) fn first() -> ShardId {
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
