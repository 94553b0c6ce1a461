//! Enhanced fan-out: subscriptions that end, and shards that do. The rest is in `contract`.
//!
//! The double begins every subscription at the oldest record, whatever it is asked for; what it is asked for is looked
//! at where a stub answers.

use std::sync::{Arc, Mutex};

use aws_sdk_kinesis::primitives::Blob;
use ferrokinesis::store::StoreOptions;
use logtally::{
    backend::{
        Backend, BackendError, SequenceNumber, ShardId, StartAt, Stream, StreamReader,
        aws::{Aws, Clients, Settings},
    },
    clock::Clock,
};

use serde_json::{Value, json};

use super::{
    double::{INPUT, Kinesis},
    refusals::shard,
    stub::Stub,
};

async fn open(config: &aws_config::SdkConfig) -> Aws {
    let settings = Settings { fan_out: true, ..Settings::new("worker", Clock::system()) };
    Aws::open(Clients::new(config), settings).await.unwrap()
}

async fn put(kinesis: &Kinesis, data: &str) {
    let put = kinesis.client.put_record().stream_name(INPUT).partition_key("key").explicit_hash_key("0");
    put.data(Blob::new(data)).send().await.unwrap();
}

/// Reads until that many records came.
async fn read(reader: &mut impl StreamReader, count: usize) -> Vec<String> {
    let mut read = Vec::new();
    while read.len() < count {
        let records = reader.next_batch().await.unwrap().records;
        read.extend(records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()));
    }
    read
}

#[tokio::test]
async fn a_subscription_that_ends_is_made_anew_and_goes_on_where_it_was() {
    let short = StoreOptions { subscribe_to_shard_session_ms: 300, ..StoreOptions::default() };
    let kinesis = Kinesis::with(short).await;
    let backend = open(&kinesis.config).await;
    let shard = backend.shards(Stream::Input).await.unwrap().remove(0).id;
    let mut reader = backend.reader(Stream::Input, &shard, StartAt::TrimHorizon).await.unwrap();
    put(&kinesis, "a").await;
    assert_eq!(read(&mut reader, 1).await, ["a"]);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    put(&kinesis, "b").await;
    put(&kinesis, "c").await;
    assert_eq!(read(&mut reader, 2).await, ["b", "c"]);
}

#[tokio::test]
async fn empty_events_that_lie_here_say_nothing_about_now() {
    let kinesis = Kinesis::start().await;
    let backend = open(&kinesis.config).await;
    let shard = backend.shards(Stream::Input).await.unwrap().remove(0).id;
    let mut reader = backend.reader(Stream::Input, &shard, StartAt::TrimHorizon).await.unwrap();
    for _ in 0..3 {
        assert!(reader.next_batch().await.unwrap().records.is_empty(), "the tip");
        // Long enough for several events.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        put(&kinesis, "a").await;
        assert_eq!(reader.next_batch().await.unwrap().records.len(), 1, "it was put before it was asked for");
    }
}

#[tokio::test]
async fn one_consumer_is_registered_for_all_and_a_closed_shard_ends() {
    let few = StoreOptions { subscribe_to_shard_event_record_limit: 2, ..StoreOptions::default() };
    let kinesis = Kinesis::with(few).await;
    let (backend, other) = (open(&kinesis.config).await, open(&kinesis.config).await);
    let shard = backend.shards(Stream::Input).await.unwrap().remove(0).id;
    for data in ["a", "b", "c", "d", "e"] {
        put(&kinesis, data).await;
    }
    let split = kinesis.client.split_shard().stream_name(INPUT).shard_to_split(&shard.0);
    split.new_starting_hash_key("5").send().await.unwrap();
    kinesis.active(INPUT).await;
    let open = || backend.reader(Stream::Input, &shard, StartAt::TrimHorizon);
    let (one, two) = tokio::join!(open(), other.reader(Stream::Input, &shard, StartAt::TrimHorizon));
    for mut reader in [one.unwrap(), two.unwrap()] {
        assert_eq!(read(&mut reader, 5).await, ["a", "b", "c", "d", "e"]);
        while !reader.next_batch().await.unwrap().end_of_shard {}
        assert!(reader.next_batch().await.unwrap().end_of_shard);
    }
    let arn = kinesis.client.describe_stream_summary().stream_name(INPUT).send().await.unwrap();
    let arn = arn.stream_description_summary.unwrap().stream_arn;
    let consumers = kinesis.client.list_stream_consumers().stream_arn(arn).send().await.unwrap().consumers;
    let names: Vec<_> = consumers.unwrap().into_iter().map(|consumer| consumer.consumer_name).collect();
    assert_eq!(names, ["default"]);
}

#[tokio::test]
async fn it_subscribes_from_the_position_and_waits_while_another_subscription_ends() {
    let asked = Arc::new(Mutex::new(Value::Null));
    let service = Arc::clone(&asked);
    let stub = Stub::start(move |operation, body| match operation {
        "DescribeStreamConsumer" => (
            200,
            json!({"ConsumerDescription": {
                "ConsumerName": "default", "ConsumerARN": "arn:consumer", "ConsumerStatus": "ACTIVE",
                "ConsumerCreationTimestamp": 1, "StreamARN": "arn",
            }}),
        ),
        "SubscribeToShard" => {
            *service.lock().unwrap() = body.clone();
            (
                400,
                json!({"__type": "ResourceInUseException", "message": "Another active subscription exists"}),
            )
        }
        _ => shard(operation, body),
    })
    .await;
    let backend = open(&stub.config).await;
    let id = ShardId("shardId-000000000000".to_owned());
    let now = Clock::system().now().as_millis();
    for (start, expected) in [
        (StartAt::TrimHorizon, json!({"Type": "TRIM_HORIZON"})),
        (
            StartAt::After(SequenceNumber(format!("77@{now}"))),
            json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "77"}),
        ),
        (
            StartAt::After(SequenceNumber(format!("AT_TIMESTAMP:5000@{now}"))),
            json!({"Type": "AT_TIMESTAMP", "Timestamp": 5}),
        ),
    ] {
        let mut reader = backend.reader(Stream::Input, &id, start).await.unwrap();
        let read = reader.next_batch().await;
        assert!(matches!(read, Err(BackendError::Busy { .. })), "{read:?}");
        let asked = asked.lock().unwrap();
        assert_eq!(asked["StartingPosition"], expected);
        assert_eq!((&asked["ConsumerARN"], &asked["ShardId"]), (&json!("arn:consumer"), &json!(id.0)));
    }
}
