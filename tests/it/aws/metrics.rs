//! Metrics on doubles of DynamoDB and CloudWatch: each parcel once, whatever is lost on the way.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use logtally::{
    backend::{
        Backend, BackendError, Datum, MetricSink, Parcel, Published, Series,
        aws::{Aws, Clients, Settings, Verdict},
    },
    clock::Clock,
    engine::time::Timestamp,
};

use serde_json::json;

use super::{
    bridge::{
        Bridge,
        Fault::{Answered, DoneButFailed, DoneButLost, DoneButSilent, Lost, Silent},
    },
    moto::{Moto, config},
    stub::Stub,
};
use crate::contract::TestClock;

pub(super) const MINUTE: i64 = 60_000;

pub(super) struct Rig {
    pub(super) moto: Moto,
    pub(super) bridge: Bridge,
    pub(super) clock: TestClock,
    /// The window before the current one.
    pub(super) window: i64,
    /// How long a call may take: nothing but a call that is never answered takes as long.
    patience: Duration,
}

impl Rig {
    pub(super) async fn new() -> Self {
        let moto = Moto::start();
        moto.create_ledger("logtally-ledger").await;
        let (bridge, clock) = (Bridge::start(moto.endpoint()), TestClock::new());
        let window = clock.now().as_millis() - 5 * MINUTE;
        Self { moto, bridge, clock, window, patience: Duration::from_mins(1) }
    }

    pub(super) async fn open(&self, worker: &str, change: impl FnOnce(&mut Settings)) -> Aws {
        let mut settings = Settings::new(worker, self.clock.clock());
        change(&mut settings);
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(self.patience);
        let config = config(self.bridge.endpoint()).into_builder().timeout_config(timeouts.build()).build();
        Aws::open(Clients::new(&config), settings).await.unwrap()
    }

    /// One more life of a worker: publishes once.
    pub(super) async fn publish(
        &self,
        worker: &str,
        parcels: Vec<Parcel>,
    ) -> Result<Published, BackendError> {
        let aws = self.open(worker, |_| ()).await;
        aws.metrics().await.unwrap().publish(parcels.into()).await
    }

    pub(super) async fn sums(&self, name: &str) -> Vec<(String, i64, f64)> {
        let aws = self.open("reader", |_| ()).await;
        let from = Timestamp::from_millis(self.window);
        // moto looks at every period for every series.
        let read = aws.read_metrics(name, from, from.plus_millis(10 * MINUTE)).await.unwrap();
        let sum = |datum: Datum| {
            let values: Vec<String> = datum.series.dimensions.into_iter().map(|(_, value)| value).collect();
            (values.join("/"), (datum.timestamp.as_millis() - self.window) / MINUTE, datum.value)
        };
        read.into_iter().map(sum).collect()
    }

    /// Everything that was counted.
    pub(super) async fn sum(&self) -> String {
        self.sums("RequestCount").await.iter().fold(0.0, |sum, (_, _, value)| sum + value).to_string()
    }

    pub(super) fn parcel(&self, id: &str, value: f64) -> Parcel {
        parcel(id, vec![datum("Billing", self.window, value), datum("Shop", self.window, 1.0)])
    }

    pub(super) async fn items(&self) -> Vec<std::collections::HashMap<String, AttributeValue>> {
        let client = aws_sdk_dynamodb::Client::new(&self.moto.config());
        client.scan().table_name("logtally-ledger").send().await.unwrap().items.unwrap_or_default()
    }

    /// How many calls of the ledger are in each state.
    pub(super) async fn states(&self) -> Vec<String> {
        let items = self.items().await;
        let states = items.iter().filter_map(|item| item.get("callState"));
        let mut states: Vec<String> = states.map(|state| state.as_s().unwrap().clone()).collect();
        states.sort();
        states
    }

    pub(super) async fn settle(&self) -> Vec<Verdict> {
        let settlement = self.open("auditor", |_| ()).await.settle().await.unwrap();
        settlement.calls.into_iter().map(|call| call.verdict).collect()
    }
}

pub(super) fn parcel(id: &str, datums: Vec<Datum>) -> Parcel {
    Parcel { id: id.to_owned(), datums, rows: Vec::new() }
}

pub(super) fn datum(application: &str, millis: i64, value: f64) -> Datum {
    let dimensions = vec![("ApplicationName".to_owned(), application.to_owned())];
    let series = Series { name: "RequestCount".to_owned(), dimensions };
    Datum { series, timestamp: Timestamp::from_millis(millis), value }
}

pub(super) fn published(parcels: u64, duplicates: u64, datums: u64, in_doubt: u64) -> Published {
    Published { parcels, duplicates, datums, in_doubt, ..Published::default() }
}

#[tokio::test]
async fn a_parcel_is_added_once() {
    let rig = Rig::new().await;
    let both = || vec![rig.parcel("a", 5.0), rig.parcel("b", 2.0), rig.parcel("a", 5.0)];
    let first = rig.publish("one", both()).await.unwrap();
    assert_eq!(first, published(2, 1, 2, 0), "a call holds one datum a series");
    let more = vec![rig.parcel("b", 2.0), rig.parcel("c", 1.0)];
    assert_eq!(rig.publish("two", more).await.unwrap(), published(1, 1, 2, 0));
    assert_eq!(rig.publish("two", vec![parcel("none", Vec::new())]).await.unwrap(), published(1, 0, 0, 0));
    let sums = rig.sums("RequestCount").await;
    assert_eq!(sums, [("Billing".to_owned(), 0, 8.0), ("Shop".to_owned(), 0, 3.0)]);
    assert_eq!(rig.bridge.seen("PutMetricData").len(), 2);
    assert_eq!(rig.states().await, ["done", "done"]);

    let aws = rig.open("reader", |_| ()).await;
    let (from, to) = (Timestamp::from_millis(rig.window), Timestamp::from_millis(rig.window + 5 * MINUTE));
    let read = async |from, to| aws.read_metrics("RequestCount", from, to).await.unwrap().len();
    assert_eq!((read(from, to).await, read(from.plus_millis(1), to).await), (2, 0));
    assert_eq!(read(from.plus_millis(-1), from.plus_millis(1)).await, 2);
    assert_eq!(read(from.plus_millis(-MINUTE), from).await, 0, "the end is exclusive");
    assert!(aws.read_metrics("Nothing", from, Timestamp::MAX).await.unwrap().is_empty());

    let now = rig.clock.now().as_millis() / 1_000;
    let items = rig.items().await;
    assert_eq!(items.len(), 5, "two calls, three parcels");
    for item in items {
        let expires: i64 = item["expires"].as_n().unwrap().parse().unwrap();
        assert_eq!(expires, now + 16 * 86_400, "{item:?}");
    }
}

#[tokio::test]
async fn what_is_certainly_not_added_is_given_back_and_added_once_in_the_end() {
    let rig = Rig::new().await;
    let aws = rig.open("one", |_| ()).await;
    let mut sink = aws.metrics().await.unwrap();
    let faults = [Answered(400, "Throttling"), Answered(503, "ThrottlingException"), Answered(400, "NoIdea")];
    rig.bridge.inject("PutMetricData", faults);
    for _ in 0..2 {
        let busy = sink.publish(vec![rig.parcel("a", 5.0)].into()).await;
        assert!(matches!(busy, Err(BackendError::Busy { .. })), "{busy:?}");
        assert!(rig.items().await.is_empty(), "nothing stays claimed");
    }
    let failed = sink.publish(vec![rig.parcel("a", 5.0)].into()).await;
    assert!(matches!(failed, Err(BackendError::Failed { .. })), "{failed:?}");
    assert!(rig.items().await.is_empty());
    assert_eq!(sink.publish(vec![rig.parcel("a", 5.0)].into()).await.unwrap(), published(1, 0, 2, 0));
    assert_eq!(rig.sum().await, "6");
}

#[tokio::test]
async fn a_claim_that_took_too_long_is_given_back_unsent() {
    let rig = Rig::new().await;
    // A clock on which everything takes 40 seconds.
    let clock = rig.clock.clone();
    let slow = Clock::from_fn(move || {
        clock.advance(40_000);
        clock.now()
    });
    let mut sink = rig.open("one", |settings| settings.clock = slow).await.metrics().await.unwrap();
    let busy = sink.publish(vec![rig.parcel("a", 5.0)].into()).await;
    let Err(BackendError::Busy { why }) = busy else { panic!("{busy:?}") };
    assert_eq!(why, "claiming metrics in table logtally-ledger took too long");
    assert!(rig.items().await.is_empty() && rig.bridge.seen("PutMetricData").is_empty());
}

#[tokio::test]
async fn lost_answers_are_in_doubt_and_not_sent_again() {
    for (fault, added) in [(DoneButFailed, true), (DoneButLost, true), (DoneButSilent, true), (Lost, false)] {
        let mut rig = Rig::new().await;
        if fault == DoneButSilent {
            rig.patience = Duration::from_secs(15);
        }
        rig.bridge.inject("PutMetricData", [fault]);
        let mut sink = rig.open("one", |_| ()).await.metrics().await.unwrap();
        let doubted = sink.publish(vec![rig.parcel("a", 5.0)].into()).await.unwrap();
        assert_eq!(doubted, published(0, 0, 0, 1), "{fault:?}");
        // Read again, by this life and the next one.
        assert_eq!(sink.publish(vec![rig.parcel("a", 5.0)].into()).await.unwrap(), published(0, 0, 0, 1));
        let next = rig.publish("two", vec![rig.parcel("a", 5.0), rig.parcel("b", 2.0)]).await.unwrap();
        assert_eq!(next, published(1, 0, 2, 1));
        assert_eq!(rig.sum().await, if added { "9" } else { "3" }, "{fault:?}");
        assert_eq!(rig.sums("InDoubt").await, [(String::new(), 5, 1.0)], "one parcel, in the current window");
        assert_eq!(rig.states().await, ["done", "doubt"]);

        let [Verdict::Waiting(until)] = rig.settle().await[..] else { panic!("settled too early") };
        rig.clock.advance(until.millis_since(rig.clock.now()));
        let verdict = if added { Verdict::Added } else { Verdict::Sent };
        assert_eq!(rig.settle().await, [verdict], "{fault:?}");
        assert_eq!(rig.sum().await, "9");
        assert_eq!(rig.states().await, ["done", "done"]);
        assert_eq!(rig.settle().await, []);
        assert_eq!(rig.publish("two", vec![rig.parcel("a", 5.0)]).await.unwrap(), published(0, 1, 0, 0));
    }
}

#[tokio::test]
async fn an_outage_puts_one_call_in_doubt() {
    let rig = Rig::new().await;
    rig.bridge.inject("PutMetricData", [Lost, Lost, Answered(500, "InternalFailure")]);
    let mut sink = rig.open("one", |_| ()).await.metrics().await.unwrap();
    let parcels =
        |from: i64| -> Vec<Parcel> { (from..from + 100).map(|n| rig.parcel(&format!("{n}"), 1.0)).collect() };
    // 99 parcels are a call, which is lost, as what would say so is; the last one is not claimed.
    let busy = sink.publish(parcels(0).into()).await;
    assert!(matches!(busy, Err(BackendError::Busy { .. })), "{busy:?}");
    let busy = sink.publish(parcels(0).into()).await;
    assert!(matches!(busy, Err(BackendError::Busy { .. })), "{busy:?}");
    assert_eq!(rig.states().await, ["doubt"]);
    assert_eq!(sink.publish(parcels(0).into()).await.unwrap(), published(1, 0, 2, 99));
    assert_eq!(rig.sums("InDoubt").await, [(String::new(), 5, 99.0)]);
}

#[tokio::test]
async fn a_claim_whose_sender_died_is_in_doubt_once_it_is_stale() {
    // The sender dies behind its claim, or when it was about to say that it has sent.
    let deaths = [("TransactWriteItems", DoneButSilent, "0"), ("UpdateItem", Silent, "6")];
    for (operation, death, sum) in deaths {
        let rig = Rig::new().await;
        let mut sink = rig.open("one", |_| ()).await.metrics().await.unwrap();
        rig.bridge.inject(operation, [death]);
        tokio::select! {
            done = sink.publish(vec![rig.parcel("a", 5.0)].into()) => panic!("{done:?}"),
            () = rig.bridge.silent() => {}
        }
        drop(sink);
        let early = rig.publish("two", vec![rig.parcel("a", 5.0)]).await;
        let Err(BackendError::Busy { why }) = early else { panic!("{early:?}") };
        assert!(why.starts_with("worker one claimed parcels at 2027-01-15T08:00:00Z"), "{why}");
        rig.clock.advance(61_000);
        let next = rig.publish("two", vec![rig.parcel("a", 5.0)]).await.unwrap();
        assert_eq!(next, published(0, 0, 0, 1), "{operation}");
        assert_eq!(rig.sum().await, sum);
        rig.clock.advance(10 * MINUTE);
        rig.settle().await;
        assert_eq!((rig.sum().await, rig.states().await), ("6".to_owned(), vec!["done".to_owned()]));
    }
}

/// Its worker is gone, and had a clock that was hours ahead: nobody waits until then.
#[tokio::test]
async fn a_claim_of_a_clock_that_was_ahead_is_in_doubt_too() {
    let rig = Rig::new().await;
    let mut sink = rig.open("one", |_| ()).await.metrics().await.unwrap();
    rig.bridge.inject("TransactWriteItems", [DoneButSilent]);
    tokio::select! {
        done = sink.publish(vec![rig.parcel("a", 5.0)].into()) => panic!("{done:?}"),
        () = rig.bridge.silent() => {}
    }
    drop(sink);
    rig.clock.advance(-61_000);
    let next = rig.publish("two", vec![rig.parcel("a", 5.0)]).await.unwrap();
    assert_eq!((next, rig.sum().await), (published(0, 0, 0, 1), "0".to_owned()));
}

/// A claim stands when it is met, and its call is gone at the next look: given back, with its parcels, or past its time.
#[tokio::test]
async fn what_was_given_back_between_two_looks_is_published_and_what_is_past_its_time_is_not() {
    for (given_back, expected) in [(true, published(1, 0, 0, 0)), (false, published(0, 1, 0, 0))] {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asking = Arc::clone(&asked);
        let stub = Stub::start(move |operation, request| {
            let mut asked = asking.lock().unwrap();
            asked.push(operation.to_owned());
            let times = asked.iter().filter(|asked| *asked == operation).count();
            match (operation, times) {
                ("TransactWriteItems", 1) => {
                    let reasons =
                        json!([{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Message": "exists"}]);
                    let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
                    (400, json!({"__type": kind, "Message": "cancelled", "CancellationReasons": reasons}))
                }
                ("BatchGetItem", _) => {
                    let wanted = &request["RequestItems"]["logtally-ledger"]["Keys"][0]["id"]["S"];
                    let is_there = wanted == "parcel#a" && (times <= 2 || !given_back);
                    let item = json!({"id": {"S": wanted}, "callId": {"S": "call#other"}});
                    let items = if is_there { vec![item] } else { Vec::new() };
                    (200, json!({"Responses": {"logtally-ledger": items}, "UnprocessedKeys": {}}))
                }
                _ => (200, json!({})),
            }
        })
        .await;
        let settings = Settings::new("two", TestClock::new().clock());
        let mut sink =
            Aws::open(Clients::new(&stub.config), settings).await.unwrap().metrics().await.unwrap();
        // Out of range, so that there is nothing to send to CloudWatch.
        let found = sink.publish(vec![parcel("a", vec![datum("Billing", 0, 5.0)])].into()).await.unwrap();
        let asked = asked.lock().unwrap().clone();
        assert_eq!(Published { out_of_range: 0, ..found }, expected, "{asked:?}");
        let claims = asked.iter().filter(|operation| *operation == "TransactWriteItems").count();
        assert_eq!((claims, found.out_of_range), if given_back { (2, 1) } else { (1, 0) });
    }
}
