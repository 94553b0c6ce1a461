//! The role `analyze`: lines to rows, as exact as `replay`, whatever Lambda hands over again.

use std::{collections::BTreeMap, fs, process::Command};

use aws_sdk_dynamodb::types::AttributeValue;
use logtally::{
    backend::{
        Backend, Shard, ShardId, Stream,
        aws::{Aws, Clients, Settings},
    },
    clock::Clock,
    engine::{parcel::unpack, row::Output, time::Timestamp},
};
use serde_json::{Value, json};

use super::{Function, Record, event, failures};
use crate::{
    aws::{
        bridge::{
            Bridge,
            Fault::{Answered, Held, Passed},
        },
        double::Kinesis,
        kinesis::aggregate,
        moto::Moto,
    },
    contract::drain_all,
};

const STREAM: &str = "lines";
/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;
/// What configures both the function and `replay`.
const WINDOW: (&str, &str) = ("LOGTALLY_ANALYZE_WINDOW", "1m");

/// Requests by start of the window, in seconds, application and status.
type Counts = BTreeMap<(i64, String, u16), u64>;

struct Rig {
    moto: Moto,
    kinesis: Kinesis,
    home: tempfile::TempDir,
    hosts: String,
    /// All lines that were ever written, once.
    lines: String,
    sequence: u64,
}

impl Rig {
    async fn new() -> Self {
        let (moto, kinesis) = (Moto::start(), Kinesis::start().await);
        moto.create_table_of_leases("logtally-leases").await;
        kinesis.create(STREAM, 1).await;
        let home = tempfile::tempdir().unwrap();
        let hosts = home.path().join("hosts.csv").to_str().unwrap().to_owned();
        let rows =
            "Host,ApplicationName,Contact\n10.0.0.1,Billing,a@example.com\n10.0.0.2,Shop,b@example.com\n";
        fs::write(&hosts, rows).unwrap();
        Self { moto, kinesis, home, hosts, lines: String::new(), sequence: 0 }
    }

    /// A process of the function that calls DynamoDB by `bridge`.
    fn function(&self, bridge: &Bridge) -> Function {
        let kinesis = self.kinesis.config.endpoint_url().unwrap();
        let reference = ("LOGTALLY_ANALYZE_REFERENCE", self.hosts.as_str());
        let stream = ("LOGTALLY_AWS_INPUT_STREAM", STREAM);
        let endpoints = [("AWS_ENDPOINT_URL", bridge.endpoint()), ("AWS_ENDPOINT_URL_KINESIS", kinesis)];
        Function::start("analyze", &[&endpoints[..], &[reference, stream, WINDOW]].concat())
    }

    fn bridge(&self) -> Bridge {
        Bridge::start(self.moto.endpoint())
    }

    /// So many lines of a host, a second apart from `second` on.
    fn log(&mut self, second: i64, host: u8, count: i64) -> String {
        let line = |at: i64| {
            let (minute, second) = (at / 60, at % 60);
            let status = if at % 7 == 0 { 500 } else { 200 };
            format!(
                "10.0.0.{host} - - [01/Jan/2026:00:{minute:02}:{second:02} +0000] \"GET /{at} HTTP/1.1\" {status} 9 \
                 \"-\" \"-\"\n"
            )
        };
        let lines: String = (second..second + count).map(line).collect();
        self.lines.push_str(&lines);
        lines
    }

    /// A record that arrived at `second`.
    fn record(&mut self, second: i64, key: &str, data: impl Into<Vec<u8>>) -> Record {
        self.sequence += 1;
        let sequence = format!("4959033827149025660855969253836157109592157598913658{:04}", self.sequence);
        let arrival = Timestamp::from_millis(START + second * 1_000 + 980);
        Record { key: key.to_owned(), sequence, arrival, data: data.into() }
    }

    /// The backend, to read with.
    async fn aws(&self) -> Aws {
        let clients = Clients::new(&self.kinesis.config);
        let settings = Settings {
            input: STREAM.to_owned(),
            tip_wait_ms: 10,
            ..Settings::new("reader", Clock::system())
        };
        Aws::open(clients, settings).await.unwrap()
    }

    /// Whether the next holder of the first shard is to send rows that the former one may have sent.
    async fn is_pending(&self) -> bool {
        let key = AttributeValue::S(format!("default/analyze/{STREAM}/{SHARD}"));
        let client = aws_sdk_dynamodb::Client::new(&self.moto.config());
        let item = client.get_item().table_name("logtally-leases").key("leaseKey", key).send().await.unwrap();
        *item.item.unwrap()["outboxPending"].as_bool().unwrap()
    }

    /// What the records of the output stream come to, each once; and how many there are.
    async fn counts(&self) -> (Counts, usize) {
        let mut parcels = BTreeMap::new();
        let mut sent = 0;
        for (_, records) in drain_all(&self.aws().await, Stream::Output).await {
            sent += records.len();
            for record in records {
                let same = parcels.insert(record.partition_key.clone(), record.data.clone());
                assert!(same.is_none_or(|same| same == record.data), "two parcels {}", record.partition_key);
            }
        }
        let mut counts = Counts::new();
        for row in parcels.values().flat_map(|data| unpack(data).rows) {
            if let Output::Row(row) = row
                && row.response_count > 0
            {
                let start = (row.window_start.as_millis() - START) / 1_000;
                *counts.entry((start, row.application_name, row.response.unwrap())).or_default() +=
                    row.response_count;
            }
        }
        (counts, sent)
    }

    /// What `replay` counts of all lines.
    fn replayed(&self) -> Counts {
        let truth = self.home.path().join("truth.log");
        fs::write(&truth, &self.lines).unwrap();
        let ended = Command::new(env!("CARGO_BIN_EXE_logtally"))
            .env_clear()
            .envs([WINDOW])
            .args(["replay", "--format", "csv", "--reference", &self.hosts])
            .arg(truth)
            .output()
            .unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let mut counts = Counts::new();
        for row in csv::Reader::from_reader(&ended.stdout[..]).records() {
            let row = row.unwrap();
            let start = (Timestamp::parse_rfc3339(&row[1]).unwrap().as_millis() - START) / 1_000;
            let key = (start, row[4].to_owned(), row[6].parse().unwrap());
            *counts.entry(key).or_default() += row[7].parse::<u64>().unwrap();
        }
        counts
    }

    async fn assert_exact(&self) {
        assert_eq!(self.counts().await.0, self.replayed());
    }

    async fn shards(&self) -> Vec<Shard> {
        self.aws().await.shards(Stream::Input).await.unwrap()
    }
}

/// A call of a tumbling window of 60 s that ends at `end`.
fn call(shard: &str, end: i64, records: &[Record]) -> Value {
    let time = |second: i64| Timestamp::from_millis(START + second * 1_000).to_string();
    let mut call = event(shard, records);
    let more = json!({
        "window": { "start": time(end - 60), "end": time(end) },
        "state": { "cut": "what was answered before" },
        "shardId": shard,
        "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/lines",
        "isFinalInvokeForWindow": false,
        "isWindowTerminatedEarly": false,
    });
    call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call
}

/// The final call of the window that ends at `end`.
fn last(shard: &str, end: i64) -> Value {
    let mut call = call(shard, end, &[]);
    call["isFinalInvokeForWindow"] = true.into();
    call
}

/// A producer's file.
#[derive(Default)]
struct Written {
    bytes: usize,
}

impl Written {
    /// The key of a record that holds the next lines.
    fn key(&mut self, lines: &str) -> String {
        let start = self.bytes;
        self.bytes += lines.len();
        format!("00000000000000ff.7.{start}-{}.0", self.bytes)
    }
}

const SHARD: &str = "shardId-000000000000";

#[tokio::test]
async fn lines_become_rows_once_whatever_lambda_hands_over_again() {
    let mut rig = Rig::new().await;
    let bridge = rig.bridge();
    let function = rig.function(&bridge);
    let mut file = Written::default();
    let (plain, packed, users) = (rig.log(1, 1, 12), rig.log(14, 2, 20), rig.log(40, 1, 1));
    let (first, second) = (file.key(&plain), file.key(&packed));
    let mut batch = vec![
        rig.record(13, &first, plain.clone()),
        rig.record(34, &second, zstd::bulk::compress(packed.as_bytes(), 1).unwrap()),
        rig.record(41, "theirs", aggregate("user", users.as_bytes())),
    ];
    let answer = function.invoke(&call(SHARD, 60, &batch)).unwrap();
    let state = format!("{SHARD} {}@{}", batch[2].sequence, START + 41_980);
    assert_eq!(answer, json!({ "state": { "cut": state }, "batchItemFailures": [] }));
    assert_eq!(function.invoke(&call(SHARD, 60, &batch)).unwrap(), answer, "the answer was lost");

    // From the second record on, with what came since; and what a producer sent again in doubt.
    let more = rig.log(50, 2, 8);
    let third = file.key(&more);
    batch.push(rig.record(58, &third, more));
    batch.push(rig.record(59, &first, plain));
    assert_eq!(failures(&function.invoke(&call(SHARD, 60, &batch[1..])).unwrap()), [""; 0]);
    assert_eq!(rig.counts().await, (Counts::new(), 0), "the window is open");

    // A window that is ended early says nothing of the time; one that is over closes those before it.
    let mut early = last(SHARD, 600);
    early["isWindowTerminatedEarly"] = true.into();
    function.invoke(&early).unwrap();
    assert_eq!(rig.counts().await.1, 0);
    function.invoke(&last(SHARD, 60)).unwrap();
    let late = rig.log(60, 1, 5);
    let fourth = file.key(&late);
    let next = [rig.record(65, &fourth, late)];
    let function = rig.function(&bridge);
    assert!(failures(&function.invoke(&call(SHARD, 120, &next)).unwrap()).is_empty());
    let mut idle = last(SHARD, 120);
    idle.as_object_mut().unwrap().remove("Records");
    let answer = function.invoke(&idle).unwrap();
    assert!(answer["state"].is_object(), "{answer}");
    let before = rig.counts().await;
    assert!(before.0.keys().all(|(start, ..)| *start == 0) && !before.0.is_empty(), "{before:?}");
    assert!(!rig.is_pending().await, "whoever comes next, weeks later, must not send these rows again");
    assert_eq!(function.invoke(&idle).unwrap(), answer);
    assert_eq!(rig.counts().await, before, "a final call that comes again sends nothing");
    idle["Records"] = Value::Null;
    idle["window"]["end"] = "2026-01-01T00:03:00Z".into();
    function.invoke(&idle).unwrap();
    rig.assert_exact().await;
}

#[tokio::test]
async fn the_first_call_of_a_child_closes_what_it_comes_from_and_knows_what_that_saw() {
    let mut rig = Rig::new().await;
    let bridge = rig.bridge();
    let function = rig.function(&bridge);
    let mut file = Written::default();
    let seen = rig.log(1, 1, 12);
    let key = file.key(&seen);
    let batch = [rig.record(13, &key, seen.clone())];
    function.invoke(&call(SHARD, 60, &batch)).unwrap();

    let parent = ShardId(SHARD.to_owned());
    let split = rig.kinesis.client.split_shard().stream_name(STREAM).shard_to_split(SHARD);
    split.new_starting_hash_key((1_u128 << 127).to_string()).send().await.unwrap();
    rig.kinesis.active(STREAM).await;
    let listed = rig.shards().await;
    let children: Vec<&Shard> = listed.iter().filter(|shard| shard.parents == [parent.clone()]).collect();
    let (left, right) = (&children[0].id, &children[1].id);
    let next = rig.log(14, 2, 9);
    let following = file.key(&next);
    // The producer does not know that its first record arrived.
    let child = [rig.record(30, &key, seen.clone()), rig.record(31, &following, next)];
    assert!(failures(&function.invoke(&call(&left.0, 60, &child)).unwrap()).is_empty());
    let (counts, _) = rig.counts().await;
    assert_eq!(counts.values().sum::<u64>(), 12, "the parent's window: {counts:?}");
    assert!(failures(&function.invoke(&call(&left.0, 60, &child)).unwrap()).is_empty());

    // Nothing comes of the parent any more; if it did, that would be told.
    assert!(failures(&function.invoke(&call(SHARD, 60, &batch)).unwrap()).is_empty());
    function.invoke(&last(SHARD, 60)).unwrap();
    let stray = [rig.record(50, "stray", "never counted\n")];
    let answer = function.invoke(&call(SHARD, 60, &stray)).unwrap();
    assert_eq!(failures(&answer), [&stray[0].sequence]);
    function.tells("1 records of shardId-000000000000 came after its windows were closed");

    // Of two parents, one was never called.
    let merge = rig.kinesis.client.merge_shards().stream_name(STREAM).shard_to_merge(&left.0);
    merge.adjacent_shard_to_merge(&right.0).send().await.unwrap();
    rig.kinesis.active(STREAM).await;
    let listed = rig.shards().await;
    let merged = listed.iter().find(|shard| shard.parents.len() == 2).unwrap().id.clone();
    let lines = rig.log(70, 1, 5);
    let key_of_last = file.key(&lines);
    let child = [rig.record(75, &key, seen), rig.record(76, &key_of_last, lines)];
    assert!(failures(&function.invoke(&call(&merged.0, 120, &child)).unwrap()).is_empty());

    // Two reshards later: those between were never called either.
    let split = rig.kinesis.client.split_shard().stream_name(STREAM).shard_to_split(&merged.0);
    split.new_starting_hash_key((1_u128 << 127).to_string()).send().await.unwrap();
    rig.kinesis.active(STREAM).await;
    let listed = rig.shards().await;
    let between: Vec<_> = listed.iter().filter(|shard| shard.parents == [merged.clone()]).collect();
    let merge = rig.kinesis.client.merge_shards().stream_name(STREAM).shard_to_merge(&between[0].id.0);
    merge.adjacent_shard_to_merge(&between[1].id.0).send().await.unwrap();
    rig.kinesis.active(STREAM).await;
    let listed = rig.shards().await;
    let youngest = listed.iter().find(|shard| shard.parents.contains(&between[0].id)).unwrap();
    let again = child[1].clone();
    let again = [Record { sequence: format!("{}9", again.sequence), ..again }];
    assert!(failures(&function.invoke(&call(&youngest.id.0, 120, &again)).unwrap()).is_empty());
    rig.assert_exact().await;
}

#[tokio::test]
async fn a_call_that_lambda_gave_up_saves_nothing_after_the_next_one() {
    let mut rig = Rig::new().await;
    let (slow, fast) = (rig.bridge(), rig.bridge());
    let (old, new) = (rig.function(&slow), rig.function(&fast));
    let lines = rig.log(1, 1, 12);
    let first = [rig.record(13, "one", lines)];
    assert!(failures(&old.invoke(&call(SHARD, 60, &first)).unwrap()).is_empty());

    // The old call takes the lease, counts, and is held where it saves its rows.
    let lines = rig.log(62, 2, 20);
    let second = [rig.record(82, "two", lines)];
    slow.inject("UpdateItem", [Passed, Held]);
    old.send(&call(SHARD, 120, &second));
    slow.silent().await;
    let lines = rig.log(83, 1, 3);
    let both = [second[0].clone(), rig.record(86, "three", lines)];
    assert!(failures(&new.invoke(&call(SHARD, 120, &both)).unwrap()).is_empty());
    let between = rig.counts().await;
    slow.release();
    let answer = old.answer().unwrap();
    assert_eq!(failures(&answer), [&second[0].sequence]);
    assert!(answer["state"].is_object());
    old.tells("is not held by");
    assert_eq!(rig.counts().await, between, "it sent nothing");
    for end in [120, 180] {
        new.invoke(&last(SHARD, end)).unwrap();
    }
    rig.assert_exact().await;
}

#[tokio::test]
async fn what_cannot_be_counted_comes_again() {
    let mut rig = Rig::new().await;
    let bridge = rig.bridge();
    let function = rig.function(&bridge);
    let lines = rig.log(1, 1, 12);
    let batch = [rig.record(13, "one", lines)];
    let denied = Answered(400, "AccessDeniedException");
    bridge.inject("GetItem", [denied]);
    let answer = function.invoke(&call(SHARD, 60, &batch)).unwrap();
    assert_eq!(
        answer,
        json!({ "state": {}, "batchItemFailures": [{ "itemIdentifier": batch[0].sequence }] })
    );
    function.invoke(&call(SHARD, 60, &batch)).unwrap();

    // Only an error brings the final call again. Here the rows are saved, and then the process cannot say so.
    bridge.inject("GetItem", [denied]);
    let error = function.invoke(&last(SHARD, 120)).unwrap_err();
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.contains("allow dynamodb:GetItem in the role's policy"), "{message}");
    bridge.inject("UpdateItem", [Passed, Passed, denied]);
    assert!(function.invoke(&last(SHARD, 120)).is_err());
    rig.assert_exact().await;
    function.invoke(&last(SHARD, 120)).unwrap();
    rig.assert_exact().await;

    // A shard that there is not.
    let answer = function.invoke(&call("shardId-000000000077", 60, &batch)).unwrap();
    assert_eq!(failures(&answer), [&batch[0].sequence]);
    function.tells("the event names shardId-000000000077, which the stream");
}
