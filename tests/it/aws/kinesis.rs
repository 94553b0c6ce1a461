//! Kinesis as it behaves: throttled, resharded, expired, refused; and what others put there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_kinesis::primitives::Blob;
use ferrokinesis::store::StoreOptions;
use logtally::{
    backend::{
        Append, Backend, BackendError, Incoming, Outgoing, SequenceNumber, Shard, ShardId, StartAt, Stream,
        StreamReader, StreamWriter,
        aws::{Aws, Clients, Settings},
        embedded,
    },
    clock::Clock,
    config::Compression,
};
use serde_json::{Value, json};

use super::{
    double::{INPUT, Kinesis},
    stub::Stub,
};

const KEY: &str = "00000000000000ff.7.0-5000.0";

fn settings() -> Settings {
    Settings { tip_wait_ms: 10, ..Settings::new("worker", Clock::system()) }
}

async fn open(config: &aws_config::SdkConfig, settings: Settings) -> Aws {
    Aws::open(Clients::new(config), settings).await.unwrap()
}

/// Of the output stream, which takes records without anything being kept on this machine.
async fn writer(backend: &Aws) -> <Aws as Backend>::Writer {
    backend.writer(Stream::Output).await.unwrap()
}

fn records(count: usize, data: impl Fn(usize) -> String) -> Append {
    let record = |index| Outgoing {
        partition_key: format!("key {index}"),
        hash_key: None,
        data: data(index).into_bytes().into(),
    };
    Append { records: (0..count).map(record).collect(), sources: Vec::new() }
}

/// Reads to the end of the shard, or to its tip.
async fn read(backend: &Aws, stream: Stream, shard: &ShardId, start: StartAt) -> (Vec<Incoming>, bool) {
    let mut reader = backend.reader(stream, shard, start).await.unwrap();
    let mut read = Vec::new();
    loop {
        let batch = reader.next_batch().await.unwrap();
        let empty = batch.records.is_empty();
        read.extend(batch.records);
        if batch.end_of_shard || (empty && batch.behind_ms == 0) {
            return (read, batch.end_of_shard);
        }
    }
}

fn texts(records: &[Incoming]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect()
}

async fn put(kinesis: &Kinesis, hash_key: u128, data: &[u8]) {
    let put = kinesis.client.put_record().stream_name(INPUT).partition_key("theirs");
    put.explicit_hash_key(hash_key.to_string()).data(Blob::new(data)).send().await.unwrap();
}

async fn shards(backend: &Aws) -> Vec<Shard> {
    backend.shards(Stream::Input).await.unwrap()
}

#[tokio::test]
async fn ten_thousand_records_arrive_once_each() {
    let kinesis = Kinesis::start().await;
    let backend = open(&kinesis.config, settings()).await;
    writer(&backend).await.append(records(10_000, |index| format!("{index}"))).await.unwrap();
    let shard = backend.shards(Stream::Output).await.unwrap().remove(0);
    let (read, ended) = read(&backend, Stream::Output, &shard.id, StartAt::TrimHorizon).await;
    assert!(!ended);
    let mut numbers: Vec<usize> = texts(&read).iter().map(|text| text.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..10_000));
}

/// A shard takes 1,000 records a second (`enforce_limits`): the rest is refused, record by record.
#[tokio::test]
async fn what_a_throttled_stream_refuses_is_sent_again_and_nothing_else() {
    let kinesis = Kinesis::with(StoreOptions { enforce_limits: true, ..StoreOptions::default() }).await;
    let backend = open(&kinesis.config, settings()).await;
    writer(&backend).await.append(records(2_500, |index| format!("{index}"))).await.unwrap();
    let shard = backend.shards(Stream::Output).await.unwrap().remove(0);
    let (read, _) = read(&backend, Stream::Output, &shard.id, StartAt::TrimHorizon).await;
    let mut numbers: Vec<usize> = texts(&read).iter().map(|text| text.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..2_500), "{} records", read.len());
}

/// Answers of `PutRecords`: what was taken, by data, and how many calls it took.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<(BTreeMap<String, u32>, u32)>>);

fn summary() -> Value {
    json!({"StreamDescriptionSummary": {
        "StreamName": INPUT, "StreamARN": "arn", "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": 1, "EnhancedMonitoring": [], "OpenShardCount": 1,
    }})
}

#[tokio::test]
async fn failed_entries_and_failed_calls_are_made_good() {
    let taken = Taken::default();
    let service = taken.clone();
    let stub = Stub::start(move |operation, body| {
        if operation == "DescribeStreamSummary" {
            return (200, summary());
        }
        let mut taken = service.0.lock().unwrap();
        taken.1 += 1;
        let call = taken.1;
        if call == 2 {
            return (500, json!({"__type": "InternalFailure", "message": "once"}));
        }
        let entry = |(index, record): (usize, &Value)| {
            // The first call takes every other record, one is refused three times more.
            let data = record["Data"].as_str().unwrap();
            if (call == 1 && index % 2 == 0) || (call < 5 && data == "OA==") {
                return json!({"ErrorCode": "InternalFailure", "ErrorMessage": "Internal Service Failure"});
            }
            *taken.0.entry(data.to_owned()).or_default() += 1;
            json!({"SequenceNumber": "1", "ShardId": "shardId-000000000000"})
        };
        let entries: Vec<Value> = body["Records"].as_array().unwrap().iter().enumerate().map(entry).collect();
        let failed = entries.iter().filter(|entry| entry["ErrorCode"].is_string()).count();
        (200, json!({"FailedRecordCount": failed, "Records": entries}))
    })
    .await;
    let backend = open(&stub.config, settings()).await;
    writer(&backend).await.append(records(10, |index| format!("{index}"))).await.unwrap();
    let taken = taken.0.lock().unwrap();
    assert_eq!(taken.0.len(), 10);
    assert!(taken.0.values().all(|&times| times == 1), "{:?}", taken.0);
    assert_eq!(taken.1, 5);
}

#[tokio::test]
async fn an_append_that_is_dropped_and_made_again_loses_nothing() {
    let kinesis = Kinesis::start().await;
    let backend = open(&kinesis.config, settings()).await;
    let mut writer = writer(&backend).await;
    for patience in [0, 3, 6, 9, 12] {
        // Either is fine: what counts is that the next one sends everything.
        let append = writer.append(records(3_000, |index| format!("{index}")));
        drop(tokio::time::timeout(Duration::from_millis(patience), append).await);
    }
    writer.append(records(3_000, |index| format!("{index}"))).await.unwrap();
    let shard = backend.shards(Stream::Output).await.unwrap().remove(0);
    let (read, _) = read(&backend, Stream::Output, &shard.id, StartAt::TrimHorizon).await;
    let numbers: BTreeSet<usize> = texts(&read).iter().map(|text| text.parse().unwrap()).collect();
    assert!(numbers.into_iter().eq(0..3_000));
}

#[tokio::test]
async fn a_split_and_a_merge_are_read_parents_first() {
    let kinesis = Kinesis::start().await;
    let backend = open(&kinesis.config, settings()).await;
    let before = shards(&backend).await;
    put(&kinesis, 0, b"before").await;
    let split = |shard: &Shard, at: u128| {
        let ask = kinesis.client.split_shard().stream_name(INPUT).shard_to_split(&shard.id.0);
        ask.new_starting_hash_key(at.to_string()).send()
    };
    split(&before[0], 1 << 100).await.unwrap();
    kinesis.active(INPUT).await;
    put(&kinesis, 0, b"low").await;
    put(&kinesis, 1 << 100, b"high").await;
    let children: Vec<Shard> =
        shards(&backend).await.into_iter().filter(|shard| shard.parents == [before[0].id.clone()]).collect();
    assert_eq!(children.len(), 2);
    let merge = kinesis.client.merge_shards().stream_name(INPUT).shard_to_merge(&children[0].id.0);
    merge.adjacent_shard_to_merge(&children[1].id.0).send().await.unwrap();
    kinesis.active(INPUT).await;
    put(&kinesis, 1 << 100, b"after").await;

    let listed = shards(&backend).await;
    let closed: Vec<bool> = listed.iter().map(|shard| shard.closed).collect();
    assert_eq!(closed.iter().filter(|&&closed| closed).count(), 3);
    let last = listed.iter().find(|shard| shard.parents.len() == 2).unwrap();
    let place = |id: &ShardId| listed.iter().position(|shard| shard.id == *id).unwrap();
    for shard in &listed {
        assert!(shard.parents.iter().all(|parent| place(parent) < place(&shard.id)));
    }
    assert_eq!((last.first_hash, last.last_hash), (before[0].first_hash, before[0].last_hash));

    let mut all = Vec::new();
    for id in [&before[0].id, &children[0].id, &children[1].id, &last.id] {
        let (records, ended) = read(&backend, Stream::Input, id, StartAt::TrimHorizon).await;
        assert_eq!(ended, id != &last.id, "{id}");
        all.extend(texts(&records));
    }
    assert_eq!(all, ["before", "low", "high", "after"]);
    // At its end a shard stays there.
    let mut reader = backend.reader(Stream::Input, &before[0].id, StartAt::TrimHorizon).await.unwrap();
    while !reader.next_batch().await.unwrap().end_of_shard {}
    let again = reader.next_batch().await.unwrap();
    assert!(again.end_of_shard && again.records.is_empty());
}

#[tokio::test]
async fn an_expired_iterator_goes_on_behind_the_last_record() {
    let kinesis = Kinesis::with(StoreOptions { iterator_ttl_seconds: 1, ..StoreOptions::default() }).await;
    let backend = open(&kinesis.config, settings()).await;
    let shard = shards(&backend).await.remove(0).id;
    let mut fresh = backend.reader(Stream::Input, &shard, StartAt::TrimHorizon).await.unwrap();
    let mut reader = backend.reader(Stream::Input, &shard, StartAt::TrimHorizon).await.unwrap();
    put(&kinesis, 0, b"a").await;
    assert_eq!(texts(&reader.next_batch().await.unwrap().records), ["a"]);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    put(&kinesis, 0, b"b").await;
    assert_eq!(texts(&reader.next_batch().await.unwrap().records), ["b"]);
    assert_eq!(texts(&fresh.next_batch().await.unwrap().records), ["a", "b"]);
}

#[tokio::test]
async fn the_newest_record_is_where_now_begins() {
    let kinesis = Kinesis::start().await;
    let backend = open(&kinesis.config, settings()).await;
    let shard = shards(&backend).await.remove(0).id;
    let empty = backend.backlog(Stream::Input, &shard, None).await.unwrap();
    assert_eq!(empty.oldest, None);
    put(&kinesis, 0, b"a").await;
    put(&kinesis, 0, b"b").await;
    let backlog = backend.backlog(Stream::Input, &shard, None).await.unwrap();
    put(&kinesis, 0, b"c").await;
    let behind = async |newest: SequenceNumber| {
        texts(&read(&backend, Stream::Input, &shard, StartAt::After(newest)).await.0)
    };
    assert_eq!(behind(backlog.newest.unwrap()).await, ["c"]);
    assert_eq!(behind(empty.newest.unwrap()).await, ["a", "b", "c"]);
    let (records, _) = read(&backend, Stream::Input, &shard, StartAt::TrimHorizon).await;
    assert_eq!(backlog.oldest, Some(records[0].arrival));
    let after = backend.backlog(Stream::Input, &shard, Some(&records[2].sequence)).await.unwrap();
    assert_eq!(after.oldest, None);
}

#[tokio::test]
async fn a_clock_ahead_of_kinesis_is_named() {
    let kinesis = Kinesis::start().await;
    let ahead = Clock::from_fn(|| Clock::system().now().plus_millis(60_000));
    let backend = open(&kinesis.config, Settings::new("worker", ahead)).await;
    let shard = shards(&backend).await.remove(0).id;
    let opened = backend.reader(Stream::Input, &shard, StartAt::Latest).await.map(drop);
    let Err(BackendError::Refused { what, .. }) = opened else { panic!("{opened:?}") };
    let start = what.split(" (").next().unwrap();
    insta::assert_snapshot!(start, @"kinesis:GetShardIterator on stream logtally-input: this machine's clock is ahead of Kinesis: let it be set by NTP");
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// One user record, as the Kinesis Producer Library writes it; short, so that every length is one byte.
pub(super) fn aggregate(key: &str, data: &[u8]) -> Vec<u8> {
    use md5::{Digest, Md5};
    let length = |bytes: usize| u8::try_from(bytes).ok().filter(|&length| length < 128).unwrap();
    let user = [&[0x08, 0x00, 0x1a, length(data.len())], data].concat();
    let message =
        [&[0x0a, length(key.len())], key.as_bytes(), &[0x1a, length(user.len())], &user[..]].concat();
    [&[0xf3, 0x89, 0x9a, 0xc2], &message[..], &Md5::digest(&message)[..]].concat()
}

#[tokio::test]
async fn what_others_put_there_is_read() {
    let kinesis = Kinesis::start().await;
    let backend = open(&kinesis.config, settings()).await;
    let shards = shards(&backend).await;
    let hash = u128::from_be_bytes(<md5::Md5 as md5::Digest>::digest(b"user").into());
    let home = shards.iter().find(|shard| (shard.first_hash..=shard.last_hash).contains(&hash)).unwrap();
    let json = br#"{"host":"10.0.0.1","request":"GET / HTTP/1.1","response":"200"}"#;
    let zstd = zstd::bulk::compress(b"packed\n", 1).unwrap();
    for data in [&b"one\ntwo\n"[..], json, &gzip(b"zipped\n"), &zstd, &aggregate("user", b"user's\n")] {
        put(&kinesis, hash, data).await;
    }
    let (records, _) = read(&backend, Stream::Input, &home.id, StartAt::TrimHorizon).await;
    let json = String::from_utf8_lossy(json);
    assert_eq!(texts(&records), ["one\ntwo\n", &json, "zipped\n", "packed\n", "user's\n"]);
    let keys: Vec<&str> = records.iter().map(|record| record.partition_key.as_str()).collect();
    assert_eq!(keys, ["theirs", "theirs", "theirs", "theirs", "user"]);

    // An aggregate in a shard that its user record does not belong to is read past.
    let other = shards.iter().find(|shard| shard.id != home.id).unwrap();
    put(&kinesis, other.first_hash, &aggregate("user", b"user's\n")).await;
    put(&kinesis, other.first_hash, b"next\n").await;
    let (records, _) = read(&backend, Stream::Input, &other.id, StartAt::TrimHorizon).await;
    assert_eq!(texts(&records), ["next\n"]);
}

#[tokio::test]
async fn compression_is_for_lines_alone_and_undone_on_reading() {
    let kinesis = Kinesis::start().await;
    let directory = tempfile::tempdir().unwrap();
    let local = embedded::Settings::new(directory.path().join("local.db"), Clock::system());
    let settings = Settings { compression: Compression::Zstd, local: Some(local), ..settings() };
    let backend = open(&kinesis.config, settings).await;
    let lines = "a line of a log\n".repeat(300);
    let record = |stream| {
        let record = Outgoing {
            partition_key: KEY.to_owned(),
            hash_key: Some(0),
            data: lines.clone().into_bytes().into(),
        };
        let (backend, append) = (backend.clone(), Append { records: vec![record], sources: Vec::new() });
        async move { backend.writer(stream).await.unwrap().append(append).await.unwrap() }
    };
    record(Stream::Input).await;
    record(Stream::Output).await;
    for (stream, name) in [(Stream::Input, INPUT), (Stream::Output, super::double::OUTPUT)] {
        let shard = backend.shards(stream).await.unwrap().remove(0).id;
        let (records, _) = read(&backend, stream, &shard, StartAt::TrimHorizon).await;
        assert_eq!(texts(&records), std::slice::from_ref(&lines));
        let iterator = kinesis.client.get_shard_iterator().stream_name(name).shard_id(&shard.0);
        let iterator = iterator.shard_iterator_type("TRIM_HORIZON".into()).send().await.unwrap();
        let stored = kinesis.client.get_records().set_shard_iterator(iterator.shard_iterator).send().await;
        let stored = stored.unwrap().records.remove(0).data.into_inner().len();
        assert_eq!(stored < 200, stream == Stream::Input, "{stored} bytes");
    }
}

#[tokio::test]
async fn a_stream_made_anew_is_told_from_the_one_of_the_checkpoint() {
    let kinesis = Kinesis::with(StoreOptions { delete_stream_ms: 0, ..StoreOptions::default() }).await;
    let backend = open(&kinesis.config, settings()).await;
    let shard = shards(&backend).await.remove(0).id;
    put(&kinesis, 0, b"a").await;
    let (records, _) = read(&backend, Stream::Input, &shard, StartAt::TrimHorizon).await;
    kinesis.client.delete_stream().stream_name(INPUT).send().await.unwrap();
    while kinesis.client.describe_stream_summary().stream_name(INPUT).send().await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Sequence numbers tell streams apart by the second in which they were made.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    kinesis.create(INPUT, 4).await;
    let opened =
        backend.reader(Stream::Input, &shard, StartAt::After(records[0].sequence.clone())).await.map(drop);
    let Err(BackendError::Refused { what, .. }) = opened else { panic!("{opened:?}") };
    let start = what.split(" (").next().unwrap();
    insta::assert_snapshot!(start, @"shardId-000000000000 of stream logtally-input does not know the position of the checkpoint: the stream was deleted and made anew; start with --from TRIM_HORIZON");
}

#[tokio::test]
async fn shards_come_in_pages() {
    let page = |numbers: std::ops::Range<u32>, next: Option<&str>| {
        let shard = |number| {
            json!({
                "ShardId": format!("shardId-{number:012}"),
                "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "9"},
                "SequenceNumberRange": {"StartingSequenceNumber": "1"},
            })
        };
        json!({"Shards": numbers.map(shard).collect::<Vec<_>>(), "NextToken": next})
    };
    let stub = Stub::start(move |_, body| match (&body["StreamName"], &body["NextToken"]) {
        (Value::String(name), Value::Null) if name == INPUT => (200, page(2..4, Some("more"))),
        (Value::Null, Value::String(token)) if token == "more" => (200, page(0..2, None)),
        _ => (400, json!({"__type": "InvalidArgumentException", "message": "NextToken and StreamName"})),
    })
    .await;
    let listed = shards(&open(&stub.config, settings()).await).await;
    let ids: Vec<&str> = listed.iter().map(|shard| &shard.id.0[18..]).collect();
    assert_eq!(ids, ["00", "01", "02", "03"]);
}
