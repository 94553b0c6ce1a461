//! What passes retention while it is read, or before. The stub's shard holds one record, again and again.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use logtally::{
    analyze::{self, AnalyzeError, StartMode},
    backend::{
        Backend, BackendError, Batch, CheckpointStore, Incoming, Outbox, SequenceNumber, Stage, StartAt,
        Stream, StreamReader,
        aws::{Aws, Clients, Settings},
    },
    clock::Clock,
    engine::{
        reference::Reference,
        time::{Timestamp, WindowSize},
    },
    stop::{Phase, Stop, channel},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    refusals::shard,
    stub::Stub,
    workers::{LEASE_MS, Office, TABLE, shards},
};
use crate::engine::{HOSTS, plan};

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

/// An empty shard that comes from one that is not listed any more.
fn child(operation: &str, request: &Value) -> (u16, Value) {
    match operation {
        "ListShards" => (
            200,
            json!({"Shards": [{
                "ShardId": "shardId-000000000001", "ParentShardId": "shardId-000000000000",
                "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string()},
                "SequenceNumberRange": {"StartingSequenceNumber": "1"},
            }]}),
        ),
        "GetRecords" => (200, json!({"Records": [], "NextShardIterator": "second", "MillisBehindLatest": 0})),
        _ => shard(operation, request),
    }
}

fn analysis(accept_loss: bool) -> analyze::Settings {
    let reference = Arc::new(Reference::parse(HOSTS.as_bytes()).unwrap().reference);
    analyze::Settings {
        pipeline: "p".to_owned(),
        plan: plan(WindowSize::FIVE_MINUTES),
        reference: watch::channel(reference).1,
        allowed_lateness_ms: 10_000,
        correction_interval_ms: 60_000,
        checkpoint_interval_ms: 0,
        top_hosts: 5,
        from: StartMode::LastStoppedPoint,
        recount: false,
        accept_loss,
        first_epoch: 1,
        board: Arc::default(),
    }
}

/// Where the parcels of the parent that were sent go, by id.
type Sent = Arc<Mutex<Vec<String>>>;

fn of_parent(sent: &Sent) -> Vec<String> {
    let sent = sent.lock().unwrap();
    sent.iter().filter(|id| id.contains("-000000000000/")).cloned().collect()
}

/// A worker over leases of its own and a Kinesis that answers so, but for what it takes.
async fn worker<F>(office: &Office, answer: F) -> (Stub, Aws, Sent)
where
    F: Fn(&str, &Value) -> (u16, Value) + Clone + Send + Sync + 'static,
{
    let sent = Sent::default();
    let taken = Arc::clone(&sent);
    let stub = Stub::start(move |operation, request| {
        if operation == "PutRecords" {
            let records = request["Records"].as_array().unwrap();
            taken
                .lock()
                .unwrap()
                .extend(records.iter().map(|record| record["PartitionKey"].as_str().unwrap().to_owned()));
        }
        answer(operation, request)
    })
    .await;
    let clients = Clients::new(&office.moto.config()).with_kinesis(&stub.config);
    let clock = Clock::from_fn(|| Timestamp::from_millis(ARRIVAL_MS + 1_000));
    let settings = Settings {
        table: TABLE.to_owned(),
        pipeline: "p".to_owned(),
        lease_ms: LEASE_MS,
        ..Settings::new("worker", clock)
    };
    (stub, Aws::open(clients, settings).await.unwrap(), sent)
}

/// Counts a line of the parent, whose window stays open.
async fn count_a_line(backend: &Aws, stop: &Stop) {
    let arrival = Timestamp::from_millis(1_800_000_000_000);
    let line = Incoming {
        sequence: SequenceNumber("6@1800000000000".to_owned()),
        partition_key: "other".to_owned(),
        arrival,
        data: "10.0.0.1 1800000000000 200 5\n".into(),
    };
    let read = |_: Option<&SequenceNumber>| Batch {
        through: Some(line.sequence.clone()),
        records: vec![line],
        complete_to: arrival,
        behind_ms: 0,
        end_of_shard: false,
    };
    let parents = shards(1);
    Box::pin(analyze::step(backend, (&analysis(false), stop), &parents, &parents[0], read)).await.unwrap();
}

/// The rows and the health of the parent's window.
const WINDOW: [&str; 2] = ["p/1/shardId-000000000000/1/0", "p/1/shardId-000000000000/1/1"];

/// The stub answers for one record of a call only: the other is sent again.
fn ids(sent: &[String]) -> BTreeSet<&str> {
    sent.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn a_parent_that_left_the_list_unread_is_told_as_lost_and_what_it_counted_is_published() {
    let office = Office::open().await;
    let (_stub, backend, sent) = worker(&office, child).await;
    let (stopper, stop) = channel();
    count_a_line(&backend, &stop).await;
    assert!(sent.lock().unwrap().is_empty(), "the window is open");

    stopper.set(Phase::Drain);
    let refused = Box::pin(analyze::run(&backend, analysis(false), stop.clone())).await;
    let Err(AnalyzeError::Backend(BackendError::Gone { why, .. })) = refused else { panic!("went on") };
    insta::assert_snapshot!(why, @"shardId-000000000000, which shardId-000000000001 comes from, is no longer listed and was not read to its end: an unknown number of records passed retention unread; --accept-loss goes on without them");
    assert!(sent.lock().unwrap().is_empty());

    Box::pin(analyze::run(&backend, analysis(true), stop.clone())).await.unwrap();
    let window = of_parent(&sent);
    assert_eq!(ids(&window), BTreeSet::from(WINDOW));
    Box::pin(analyze::run(&backend, analysis(true), stop.clone())).await.unwrap();
    assert_eq!(of_parent(&sent), window, "its window, once");
    let store = backend.checkpoints(Stage::Analyze).await.unwrap();
    let (cut, outbox) = store.load(&shards(1)[0].id).await.unwrap().unwrap();
    assert!(cut.ended && outbox == Outbox::Sent, "that it was sent is saved, for whoever comes later");
    assert!(Box::pin(analyze::run(&backend, analysis(false), stop)).await.is_ok(), "told once");
}

#[tokio::test]
async fn a_parent_that_leaves_the_list_while_the_list_is_kept_makes_it_be_read_anew() {
    let office = Office::open().await;
    let lists = Arc::new(AtomicI64::new(0));
    let (_stub, backend, sent) = worker(&office, move |operation, request| {
        // Those of the start and of the first look have the parent.
        let is_late = operation == "ListShards" && lists.fetch_add(1, Ordering::SeqCst) >= 2;
        if is_late { child(operation, request) } else { shard(operation, request) }
    })
    .await;
    let (stopper, stop) = channel();
    count_a_line(&backend, &stop).await;
    stopper.set(Phase::Drain);
    let refused = Box::pin(analyze::run(&backend, analysis(false), stop.clone())).await;
    assert!(matches!(refused, Err(AnalyzeError::Backend(BackendError::Gone { .. }))), "{refused:?}");
    assert!(sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_was_read_of_a_shard_before_it_left_the_list_is_counted() {
    let office = Office::open().await;
    let reads = Arc::new(AtomicI64::new(0));
    let (_stub, backend, sent) = worker(&office, move |operation, request| {
        let left = reads.load(Ordering::SeqCst) > 1;
        match operation {
            "GetRecords" | "ListShards" if left => child(operation, request),
            "GetRecords" if reads.fetch_add(1, Ordering::SeqCst) == 1 => {
                let message = "Shard shardId-000000000000 in stream logtally-input does not exist";
                (400, json!({"__type": "ResourceNotFoundException", "message": message}))
            }
            _ => shard(operation, request),
        }
    })
    .await;
    let (stopper, stop) = channel();
    count_a_line(&backend, &stop).await;
    stopper.set(Phase::Drain);
    let seldom = analyze::Settings { checkpoint_interval_ms: 3_600_000, ..analysis(true) };
    Box::pin(analyze::run(&backend, seldom, stop)).await.unwrap();
    assert_eq!(ids(&of_parent(&sent)), BTreeSet::from(WINDOW));
    let store = backend.checkpoints(Stage::Analyze).await.unwrap();
    let (cut, _) = store.load(&shards(1)[0].id).await.unwrap().unwrap();
    assert_eq!((cut.position.unwrap().0.as_str(), cut.ended), ("7@1800000000123", true));
}
