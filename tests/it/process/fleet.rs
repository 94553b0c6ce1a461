//! The whole pipeline on doubles of AWS: a file that grows and rotates → Kinesis → two workers → Kinesis → CloudWatch, with
//! a split, a merge and a kill on the way. Looks at CloudWatch only.

use std::time::Duration;

use logtally::{
    backend::{
        Backend,
        aws::{Aws, Clients, Settings},
    },
    clock::Clock,
    engine::{
        metric::RESPONSE_COUNT,
        time::{Timestamp, WindowSize},
    },
};

use super::{
    home::{DEADLINE_MS, HOSTS, Home},
    load::{Rotation, Writer, lines},
    oracle::{Counts, differences, replayed, totals},
};
use crate::aws::{
    bridge::Bridge,
    double::{INPUT, Kinesis},
    moto::{Moto, config},
};

pub(super) const CONFIG: &str = r#"
backend = "aws"
state_dir = "state"
[aws]
bucket = "cuts"
lease = "2s"
[produce]
files = ["access.log*"]
record_age = "50ms"
refresh = "100ms"
compression = "zstd"
[analyze]
window = "10s"
allowed_lateness = "1s"
correction_interval = "1s"
checkpoint_interval = "1s"
reference = "s3://cuts/hosts.csv"
"#;

/// CloudWatch's resolution, in milliseconds.
const MINUTE: i64 = 60_000;

/// The services, each played by a double.
pub(super) struct Cloud {
    pub(super) kinesis: Kinesis,
    _moto: Moto,
    pub(super) bridge: Bridge,
    pub(super) environment: Vec<(String, String)>,
}

impl Cloud {
    pub(super) async fn new() -> Self {
        let (kinesis, moto) = (Kinesis::start().await, Moto::start());
        moto.create_table_of_leases("logtally-leases").await;
        moto.create_ledger("logtally-ledger").await;
        moto.create_bucket("cuts").await;
        let s3 = aws_sdk_s3::config::Builder::from(&moto.config()).force_path_style(true).build();
        let put = aws_sdk_s3::Client::from_conf(s3).put_object().bucket("cuts").key("hosts.csv");
        put.body(HOSTS.as_bytes().to_vec().into()).send().await.unwrap();
        let bridge = Bridge::start(moto.endpoint());
        let of_kinesis = kinesis.config.endpoint_url().unwrap().to_owned();
        let environment = [
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_ENDPOINT_URL", moto.endpoint()),
            ("AWS_ENDPOINT_URL_CLOUDWATCH", bridge.endpoint()),
            ("AWS_ENDPOINT_URL_KINESIS", &of_kinesis),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { kinesis, _moto: moto, bridge, environment }
    }

    /// What CloudWatch holds, by minute.
    pub(super) async fn published(&self) -> Counts {
        let clients = Clients::new(&config(self.bridge.endpoint()));
        let window = WindowSize::from_millis(MINUTE).unwrap();
        let settings = Settings { window, ..Settings::new("oracle", Clock::system()) };
        let aws = Aws::open(clients, settings).await.unwrap();
        let now = Clock::system().now();
        let range = (now.plus_millis(-60 * MINUTE), now.plus_millis(2 * MINUTE));
        let found = aws.read_metrics(RESPONSE_COUNT, range.0, range.1).await.unwrap();
        let mut counts = Counts::new();
        for datum in found.into_iter().filter(|datum| datum.value > 0.0) {
            let [(_, application), (_, class)] = datum.series.dimensions.as_slice() else {
                panic!("{datum:?}")
            };
            let key = (datum.timestamp, application.clone(), class.clone());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of lines")]
            let value = datum.value as u64;
            *counts.entry(key).or_default() += value;
        }
        counts
    }

    /// Waits until so much is published, or for too long. Rests as long as a look takes: the services answer one call
    /// at a time, and have others to answer.
    pub(super) async fn published_in_the_end(&self, requests: u64) {
        let clock = Clock::system();
        let began = clock.now();
        loop {
            let looked = clock.now();
            if sum(&self.published().await) >= requests || looked.millis_since(began) > DEADLINE_MS {
                return;
            }
            let took = clock.now().millis_since(looked).max(500);
            tokio::time::sleep(Duration::from_millis(took.unsigned_abs())).await;
        }
    }

    /// Splits the first open shard in the middle.
    async fn split(&self) {
        let open = self.open().await;
        let (shard, (first, last)) = open.first().cloned().unwrap();
        let middle = first + (last - first) / 2;
        let split = self.kinesis.client.split_shard().stream_name(INPUT).shard_to_split(shard);
        split.new_starting_hash_key(middle.to_string()).send().await.unwrap();
        self.kinesis.active(INPUT).await;
    }

    /// Merges the last two open shards.
    async fn merge(&self) {
        let open = self.open().await;
        let [.., (left, _), (right, _)] = open.as_slice() else { panic!("{open:?}") };
        let merge = self.kinesis.client.merge_shards().stream_name(INPUT);
        merge.shard_to_merge(left).adjacent_shard_to_merge(right).send().await.unwrap();
        self.kinesis.active(INPUT).await;
    }

    /// The open shards, by their hash keys.
    async fn open(&self) -> Vec<(String, (u128, u128))> {
        let listed = self.kinesis.client.list_shards().stream_name(INPUT).send().await.unwrap();
        let open = listed.shards().iter().filter(|shard| {
            shard.sequence_number_range().is_none_or(|range| range.ending_sequence_number().is_none())
        });
        let range = |shard: &aws_sdk_kinesis::types::Shard| {
            let range = shard.hash_key_range().unwrap();
            (range.starting_hash_key().parse().unwrap(), range.ending_hash_key().parse().unwrap())
        };
        let mut open: Vec<(String, (u128, u128))> =
            open.map(|shard| (shard.shard_id().to_owned(), range(shard))).collect();
        open.sort_by_key(|(_, range)| *range);
        open
    }
}

pub(super) fn sum(counts: &Counts) -> u64 {
    totals(counts).values().sum()
}

pub(super) fn by_minute(counts: Counts) -> Counts {
    let mut minutes = Counts::new();
    for ((start, application, class), requests) in counts {
        let minute = Timestamp::from_millis(start.as_millis().div_euclid(MINUTE) * MINUTE);
        *minutes.entry((minute, application, class)).or_default() += requests;
    }
    minutes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_is_counted_once_over_two_workers_a_split_a_merge_and_a_kill() {
    let cloud = Cloud::new().await;
    let home = Home::with_environment(CONFIG, cloud.environment.clone());
    let pause = || tokio::time::sleep(Duration::from_secs(3));
    let writer = Writer::start(&home, Rotation::Rename, 7);
    let produce = home.start("produce");
    let (first, second) = (home.start("analyze"), home.start("analyze"));
    let deliver = home.start("deliver");
    pause().await;
    cloud.split().await;
    pause().await;
    // The other worker carries on when the leases of this one have run out.
    first.kill();
    pause().await;
    cloud.merge().await;
    let third = home.start("analyze");
    pause().await;
    let truth = writer.stop();

    let (expected, _) = replayed(&home, &truth);
    let expected = by_minute(expected);
    cloud.published_in_the_end(sum(&expected)).await;
    for process in [produce, second, third, deliver] {
        process.stop();
    }
    // Whatever was on its way when they stopped would be too much.
    let found = cloud.published().await;
    let differences = differences(&expected, &found);
    assert!(differences.is_empty(), "{}\nsaid: {}", differences.join("\n"), home.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_reads_the_children_of_shards_that_earlier_runs_read_to_their_end() {
    let cloud = Cloud::new().await;
    let home = Home::with_environment(CONFIG, cloud.environment.clone());
    for round in 1..=3 {
        home.log(&lines("10.0.1.7", 100));
        home.result("produce --once");
        home.result("analyze --once");
        let status = home.result("status --format json");
        let rows = status.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let read: u64 = rows.filter_map(|row| row["lines"].as_u64()).sum();
        assert_eq!(read, 100 * round, "{status}\n{}", home.said());
        cloud.split().await;
    }
}
