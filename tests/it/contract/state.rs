//! Checkpoints, locks and metrics. Reads no lines.

use logtally::{
    backend::{
        Backend, BackendError, Checkpoint, CheckpointStore, Datum, MetricSink, Outbox, Outgoing, Parcel,
        Published, SequenceNumber, Series, Shard, ShardId, Stage, Stream,
    },
    engine::time::{Timestamp, WindowSize},
};

use super::{Place, append, drain_all, record, texts};

fn cut(position: &str, state: &[u8]) -> Checkpoint {
    Checkpoint { position: Some(SequenceNumber(position.to_owned())), state: state.to_vec(), ended: false }
}

/// Holds all of `shards`, as a stage does before it loads and saves their cuts.
async fn hold(store: &impl CheckpointStore, shards: &[Shard]) {
    let held = store.hold(shards).await.unwrap();
    assert!(shards.iter().all(|shard| held.shards.contains(&shard.id)), "{held:?}");
}

/// Sends an outbox that the backend only stored, as a stage does.
async fn settle<B: Backend>(backend: &B, outbox: Outbox, records: Vec<Outgoing>) {
    match outbox {
        Outbox::Sent => {}
        Outbox::Pending => append(backend, Stream::Output, records).await,
    }
}

pub(crate) async fn saves_a_cut_and_its_outbox_once(place: &impl Place) {
    let backend = place.open().await;
    let shards = backend.shards(Stream::Input).await.unwrap();
    let store = backend.checkpoints(Stage::Analyze).await.unwrap();
    hold(&store, &shards).await;
    assert!(store.load(&shards[0].id).await.unwrap().is_none());
    assert!(store.load(&shards[1].id).await.unwrap().is_none());

    for (position, text) in [("1", "first"), ("2", "second")] {
        let outbox = vec![record("rows", text)];
        let state = text.repeat(10_000);
        let saved = store.save(&shards[0].id, cut(position, state.as_bytes()), outbox.clone()).await.unwrap();
        settle(&backend, saved, outbox).await;
    }
    store.save(&shards[1].id, cut("9", b""), Vec::new()).await.unwrap();
    drop((store, backend));

    let backend = place.open().await;
    let store = backend.checkpoints(Stage::Analyze).await.unwrap();
    let (checkpoint, _) = store.load(&shards[0].id).await.unwrap().unwrap();
    assert_eq!(checkpoint, cut("2", "second".repeat(10_000).as_bytes()));
    let (checkpoint, _) = store.load(&shards[1].id).await.unwrap().unwrap();
    assert_eq!(checkpoint, cut("9", b""));
    let output = drain_all(&backend, Stream::Output).await;
    assert_eq!(texts(&output[0].1), ["first", "second"]);
    let other = backend.checkpoints(Stage::Deliver).await.unwrap();
    assert!(other.load(&shards[0].id).await.unwrap().is_none(), "stages share nothing");
}

pub(crate) async fn gives_a_stage_to_one_holder(place: &impl Place) {
    let (backend, other) = (place.open().await, place.open().await);
    for stage in [Stage::Produce, Stage::Analyze, Stage::Deliver] {
        let held = backend.checkpoints(stage).await.unwrap();
        let copy = held.clone();
        drop(held);
        let second = other.checkpoints(stage).await;
        assert!(matches!(second, Err(BackendError::Closed { .. })), "{stage:?} twice");
        drop(copy);
        other.checkpoints(stage).await.unwrap();
    }
}

/// Whether the backend locks the stage as a whole or each shard.
pub(crate) async fn gives_a_shard_to_one_holder(place: &impl Place) {
    let (backend, other) = (place.open().await, place.open().await);
    for (stage, stream) in [(Stage::Analyze, Stream::Input), (Stage::Deliver, Stream::Output)] {
        let shards = backend.shards(stream).await.unwrap();
        let first = backend.checkpoints(stage).await.unwrap();
        hold(&first, &shards).await;
        let second = match other.checkpoints(stage).await {
            Err(BackendError::Closed { .. }) => None,
            second => Some(second.unwrap()),
        };
        if let Some(second) = &second {
            assert_eq!(second.hold(&shards).await.unwrap().shards, []);
            second.load(&shards[0].id).await.unwrap();
            let refused = second.save(&shards[0].id, cut("1", b"second"), Vec::new()).await;
            assert!(matches!(refused, Err(BackendError::Closed { .. })), "{refused:?}");
        }
        first.load(&shards[0].id).await.unwrap();
        first.save(&shards[0].id, cut("1", b"first"), Vec::new()).await.unwrap();
        for shard in &shards {
            first.release(&shard.id).await.unwrap();
        }
        drop(first);
        let second = match second {
            Some(second) => second,
            None => other.checkpoints(stage).await.unwrap(),
        };
        hold(&second, &shards).await;
        let (found, _) = second.load(&shards[0].id).await.unwrap().unwrap();
        assert_eq!(found, cut("1", b"first"));
    }
}

const WINDOW_MS: i64 = WindowSize::FIVE_MINUTES.as_millis();

fn parcel(id: &str, datums: Vec<Datum>) -> Parcel {
    Parcel { id: id.to_owned(), datums, rows: Vec::new() }
}

fn datum(application: &str, millis: i64, value: f64) -> Datum {
    Datum {
        series: Series {
            name: "RequestCount".to_owned(),
            dimensions: vec![("ApplicationName".to_owned(), application.to_owned())],
        },
        timestamp: Timestamp::from_millis(millis),
        value,
    }
}

pub(crate) async fn adds_a_parcel_once(place: &impl Place) {
    let backend = place.open().await;
    // CloudWatch tells only times apart that lie in different minutes.
    let start = WindowSize::FIVE_MINUTES.start_of(place.clock().now()).as_millis() - WINDOW_MS;
    let mut metrics = backend.metrics().await.unwrap();
    let first = || parcel("p/1/shard/1/0", vec![datum("Billing", start, 5.0), datum("Shop", start, 1.0)]);
    let second = || {
        parcel("p/1/shard/2/0", vec![datum("Billing", start, 2.5), datum("Billing", start + WINDOW_MS, 1.0)])
    };
    let counted =
        |parcels, duplicates, datums| Published { parcels, duplicates, datums, ..Published::default() };
    assert_eq!(metrics.publish(vec![first(), first()].into()).await.unwrap(), counted(1, 1, 2));
    drop((metrics, backend));
    let backend = place.open().await;
    let mut metrics = backend.metrics().await.unwrap();
    assert_eq!(metrics.publish(vec![second(), first()].into()).await.unwrap(), counted(1, 1, 2));
    assert_eq!(metrics.publish(Vec::new().into()).await.unwrap(), Published::default());

    let from = Timestamp::from_millis(start);
    let read = backend.read_metrics("RequestCount", from, from.plus_millis(WINDOW_MS + 1)).await.unwrap();
    let expected =
        [datum("Billing", start, 7.5), datum("Billing", start + WINDOW_MS, 1.0), datum("Shop", start, 1.0)];
    assert_eq!(read, expected);
    let read = backend.read_metrics("RequestCount", from, from.plus_millis(WINDOW_MS)).await.unwrap();
    assert_eq!(read.len(), 2, "the end is exclusive");
    assert!(backend.read_metrics("Nothing", from, from.plus_millis(WINDOW_MS)).await.unwrap().is_empty());
}

pub(crate) async fn keeps_the_cut_of_an_unknown_shard_apart(place: &impl Place) {
    let backend = place.open().await;
    let store = backend.checkpoints(Stage::Analyze).await.unwrap();
    let mut shard = backend.shards(Stream::Input).await.unwrap()[0].clone();
    shard.id = ShardId("shardId-000000000077".to_owned());
    hold(&store, std::slice::from_ref(&shard)).await;
    let child = shard.id;
    assert!(store.load(&child).await.unwrap().is_none());
    store.save(&child, cut("1", b"child"), Vec::new()).await.unwrap();
    let first = &backend.shards(Stream::Input).await.unwrap()[0].id;
    assert!(store.load(first).await.unwrap().is_none());
    assert!(store.load(&child).await.unwrap().is_some());
}
