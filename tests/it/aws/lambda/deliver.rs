//! The role `deliver`: rows to metrics, once, and what is no row to the dead-letter queue.

use aws_smithy_types::base64;
use logtally::{
    backend::{
        Backend,
        aws::{Aws, Clients, Settings},
    },
    clock::Clock,
    engine::{
        parcel::pack,
        row::{Origin, Output, Row},
        time::Timestamp,
    },
};
use serde_json::{Value, json};

use super::{Function, Record, event, failures};
use crate::aws::{
    bridge::{Bridge, Fault::Answered},
    moto::{Moto, config},
};

const SHARD: &str = "shardId-000000000000";
const MINUTE: i64 = 60_000;

struct Rig {
    moto: Moto,
    bridge: Bridge,
    /// A window that is over.
    window: Timestamp,
}

impl Rig {
    async fn new() -> Self {
        let moto = Moto::start();
        moto.create_ledger("logtally-ledger").await;
        let bridge = Bridge::start(moto.endpoint());
        let now = Clock::system().now().as_millis();
        Self { moto, bridge, window: Timestamp::from_millis(now - now % (5 * MINUTE) - 10 * MINUTE) }
    }

    fn function(&self, queue: Option<&str>) -> Function {
        let endpoint = ("AWS_ENDPOINT_URL", self.bridge.endpoint());
        let queue = queue.map(|queue| ("LOGTALLY_DEAD_LETTER_QUEUE", queue));
        Function::start("deliver", &[Some(endpoint), queue].into_iter().flatten().collect::<Vec<_>>())
    }

    async fn queue(&self) -> String {
        let queue = self.sqs().create_queue().queue_name("dead-letters").send().await.unwrap();
        queue.queue_url.unwrap()
    }

    fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.moto.config())
    }

    /// The letters that were not read yet.
    async fn letters(&self, queue: &str) -> Vec<Value> {
        let read = self.sqs().receive_message().queue_url(queue).max_number_of_messages(10).send().await;
        let messages = read.unwrap().messages.unwrap_or_default();
        messages.iter().map(|letter| serde_json::from_str(letter.body().unwrap()).unwrap()).collect()
    }

    /// The records of a cut in which `application` had so many requests.
    fn parcels(&self, cut: u64, application: &str, requests: u64) -> Vec<Record> {
        let origin = Origin { pipeline: "p".to_owned(), epoch: 1, shard: SHARD.to_owned() };
        let row = Row {
            row_id: format!("{origin}/{cut}/0"),
            window_start: self.window,
            window_end: self.window.plus_millis(5 * MINUTE),
            revision: 0,
            application_name: application.to_owned(),
            contact: "them@example.com".to_owned(),
            response: Some(200),
            response_count: requests,
            bytes: 0,
            top_hosts: Vec::new(),
        };
        let parcels = pack(&origin, cut, &[Output::Row(row)]).into_iter().enumerate();
        let record = |(part, parcel): (usize, logtally::engine::parcel::Parcel)| {
            self.record(cut * 10 + part as u64, &parcel.id, &parcel.lines)
        };
        parcels.map(record).collect()
    }

    fn record(&self, number: u64, key: &str, data: &[u8]) -> Record {
        let arrival = self.window.plus_millis(6 * MINUTE + 980);
        let sequence = format!("4959033827149025660855969253836157109592157598913658{number:04}");
        Record { key: key.to_owned(), sequence, arrival, data: data.to_vec() }
    }

    /// Requests by application, as CloudWatch has them.
    async fn requests(&self) -> Vec<(String, u64)> {
        let clients = Clients::new(&config(self.bridge.endpoint()));
        let aws = Aws::open(clients, Settings::new("reader", Clock::system())).await.unwrap();
        let read = aws.read_metrics("RequestCount", self.window, self.window.plus_millis(5 * MINUTE)).await;
        let mut requests: Vec<(String, u64)> = read
            .unwrap()
            .into_iter()
            .map(|datum| (datum.series.dimensions[0].1.clone(), format!("{}", datum.value).parse().unwrap()))
            .collect();
        requests.sort();
        requests
    }

    async fn claimed(&self) -> Vec<String> {
        let client = aws_sdk_dynamodb::Client::new(&self.moto.config());
        let items = client.scan().table_name("logtally-ledger").send().await.unwrap().items.unwrap();
        items.iter().map(|item| item["id"].as_s().unwrap().clone()).collect()
    }
}

fn requests(requests: &[(&str, u64)]) -> Vec<(String, u64)> {
    requests.iter().map(|(application, requests)| ((*application).to_owned(), *requests)).collect()
}

#[tokio::test]
async fn rows_become_metrics_once_however_often_lambda_hands_them_over() {
    let rig = Rig::new().await;
    let function = rig.function(None);
    let first =
        [rig.parcels(1, "Billing", 5), rig.parcels(2, "Shop", 2), rig.parcels(3, "Billing", 3)].concat();
    let answer = function.invoke(&event(SHARD, &first)).unwrap();
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(rig.requests().await, requests(&[("Billing", 8), ("Shop", 2)]));
    // Lambda lost the answer; then the function was started anew in between.
    function.invoke(&event(SHARD, &first)).unwrap();
    let again = [&first[1..], &rig.parcels(4, "Shop", 10)].concat();
    let other = rig.function(None);
    assert_eq!(failures(&other.invoke(&event(SHARD, &again)).unwrap()), [""; 0]);
    assert_eq!(rig.requests().await, requests(&[("Billing", 8), ("Shop", 12)]));
    assert_eq!(failures(&other.invoke(&json!({ "Records": [] })).unwrap()), [""; 0]);
}

#[tokio::test]
async fn what_is_no_row_goes_to_the_queue_and_the_rest_is_published() {
    let rig = Rig::new().await;
    let queue = rig.queue().await;
    let function = rig.function(Some(&queue));
    let mut batch = rig.parcels(1, "Billing", 5);
    batch.push(rig.record(20, "theirs", b"what is this?\nand this?\n"));
    batch.extend(rig.parcels(3, "Shop", 2));
    assert_eq!(failures(&function.invoke(&event(SHARD, &batch)).unwrap()), [""; 0]);
    assert_eq!(rig.requests().await, requests(&[("Billing", 5), ("Shop", 2)]));
    let expected = json!({
        "reason": "2 lines are no rows",
        "shardId": SHARD,
        "sequenceNumber": batch[1].sequence,
        "partitionKey": "theirs",
        "bytes": 24,
        "data": base64::encode("what is this?\nand this?\n"),
    });
    assert_eq!(rig.letters(&queue).await, [expected]);
    let claimed = rig.claimed().await;
    assert!(claimed.iter().any(|id| id.contains("p/1/shardId-000000000000/1/0")), "{claimed:?}");
    assert!(!claimed.iter().any(|id| id.contains("theirs")), "what has no datum is not claimed: {claimed:?}");
}

#[tokio::test]
async fn a_letter_that_is_refused_comes_again_alone() {
    let rig = Rig::new().await;
    let queue = rig.queue().await;
    let function = rig.function(Some(&queue));
    let poison = |number| rig.record(number, "theirs", b"?");
    let batch =
        [rig.parcels(1, "Billing", 5), vec![poison(20), poison(21)], rig.parcels(3, "Shop", 2)].concat();
    let denied = Answered(403, "AccessDeniedException");
    rig.bridge.inject("SendMessage", [crate::aws::bridge::Fault::Passed, denied]);
    let answer = function.invoke(&event(SHARD, &batch)).unwrap();
    assert_eq!(failures(&answer), [&batch[2].sequence]);
    function.tells("allow sqs:SendMessage in the role's policy");
    assert_eq!(failures(&function.invoke(&event(SHARD, &batch[2..])).unwrap()), [""; 0]);
    assert_eq!(rig.letters(&queue).await.len(), 2);
    assert_eq!(rig.requests().await, requests(&[("Billing", 5), ("Shop", 2)]));
}

#[tokio::test]
async fn without_a_queue_what_is_no_row_is_told_and_passed() {
    let rig = Rig::new().await;
    let function = rig.function(None);
    let batch = [vec![rig.record(0, "theirs", b"?")], rig.parcels(1, "Billing", 5)].concat();
    assert_eq!(failures(&function.invoke(&event(SHARD, &batch)).unwrap()), [""; 0]);
    assert_eq!(rig.requests().await, requests(&[("Billing", 5)]));
    function.tells("1 lines are no rows");
    function.tells(&batch[0].sequence);
}

#[tokio::test]
async fn what_cloudwatch_does_not_take_comes_again() {
    let rig = Rig::new().await;
    let queue = rig.queue().await;
    let function = rig.function(Some(&queue));
    let batch = [rig.parcels(1, "Billing", 5), vec![rig.record(20, "theirs", b"?")]].concat();
    for fault in [Answered(400, "Throttling"), Answered(403, "AccessDenied"), Answered(400, "NoIdea")] {
        rig.bridge.inject("PutMetricData", [fault]);
        let answer = function.invoke(&event(SHARD, &batch)).unwrap();
        assert_eq!(failures(&answer), [&batch[0].sequence], "{fault:?}");
    }
    assert_eq!(rig.requests().await, []);
    assert_eq!(rig.letters(&queue).await, [Value::Null; 0], "no letter before the batch is through");
    assert_eq!(failures(&function.invoke(&event(SHARD, &batch)).unwrap()), [""; 0]);
    assert_eq!(rig.requests().await, requests(&[("Billing", 5)]));
    assert_eq!(rig.letters(&queue).await.len(), 1);
}
