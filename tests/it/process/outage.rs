//! The pipeline on doubles of AWS that fail for a while: every line is counted once when it is over. Kills nothing.
//!
//! `LOGTALLY_OUTAGE=60 cargo test --test it process::outage` lets each outage last a minute.

use std::time::Duration;

use logtally::clock::Clock;

use super::{
    fleet::{CONFIG, Cloud, by_minute},
    home::Home,
    kill::asked,
    load::lines,
    oracle::{Counts, differences, replayed, totals},
};
use crate::aws::bridge::{Bridge, Fault};

/// How many seconds an outage lasts at least in a run of the suite.
const OUTAGE: u64 = 3;
/// Who speaks of an outage: the readers of five shards, two stages that look at the leases and renew them, and what
/// sends to the stream. Each says it once, and again after ten attempts, which take it this many seconds at least.
const SPEAKERS: u64 = 5 + 2 + 2 + 1;
const TEN_ATTEMPTS: u64 = 6;

fn sum(counts: &Counts) -> u64 {
    totals(counts).values().sum()
}

fn warnings(home: &Home) -> Vec<String> {
    home.said().lines().filter(|line| line.contains(" WARN ")).map(str::to_owned).collect()
}

/// Kinesis and DynamoDB behind something that fails on request.
struct Road {
    bridges: [Bridge; 2],
}

impl Road {
    fn to(cloud: &mut Cloud) -> Self {
        let streams = Bridge::start(cloud.kinesis.config.endpoint_url().unwrap());
        let tables = Bridge::start(cloud.bridge.endpoint());
        let names = ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_DYNAMODB"];
        cloud.environment.retain(|(name, _)| !names.contains(&name.as_str()));
        let bridges = [streams, tables];
        let endpoints = bridges.iter().map(|bridge| bridge.endpoint().to_owned());
        cloud.environment.extend(names.map(str::to_owned).into_iter().zip(endpoints));
        Self { bridges }
    }

    fn suffer(&self, fault: Fault) {
        self.bridges.iter().for_each(|bridge| bridge.suffer(fault));
    }

    fn mend(&self) {
        self.bridges.iter().for_each(Bridge::mend);
    }
}

/// What happens, and what of it is said. That nobody answers is said after 30 s only, which is not waited for.
const FAULTS: [(Fault, &str); 5] = [
    (Fault::Answered(500, "InternalFailure"), "InternalFailure"),
    (
        Fault::Answered(400, "ProvisionedThroughputExceededException"),
        "ProvisionedThroughputExceededException",
    ),
    (Fault::Halved, "end of file before message length reached"),
    (Fault::Lost, "connection closed before message completed"),
    (Fault::Silent, ""),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_fail_for_a_while_cost_no_line_and_no_line_is_counted_twice() {
    let mut cloud = Cloud::new().await;
    let road = Road::to(&mut cloud);
    let home = Home::with_environment(CONFIG, cloud.environment.clone());
    let mut truth = String::new();
    let mut log = |count| {
        let more = lines("10.0.1.7", count);
        home.log(&more);
        truth += &more;
    };
    let refused = home.scripted("AWS_ENDPOINT_URL_KINESIS=http://nowhere.invalid $LOGTALLY run");
    assert_eq!(refused.code, Some(69), "{}", refused.stderr);
    let last = refused.stderr.lines().last().unwrap();
    assert!(last.starts_with("logtally: kinesis:") && last.contains("dns error"), "{last}");

    log(100);
    let mut process = home.start("run");
    let clock = Clock::system();
    let began = clock.now();
    while sum(&cloud.published().await) == 0 {
        assert!(process.runs() && clock.now().millis_since(began) < 60_000, "{}", home.said());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let outage = asked("LOGTALLY_OUTAGE").unwrap_or(OUTAGE);
    for (fault, expected) in FAULTS {
        let before = warnings(&home).len();
        road.suffer(fault);
        log(100);
        tokio::time::sleep(Duration::from_secs(outage)).await;
        home.until(expected, || {
            let said = &warnings(&home)[before..];
            expected.is_empty() || said.iter().any(|warning| warning.contains(expected))
        });
        road.mend();
        // What the outage before is still said for is not of this one.
        let mut said = warnings(&home)[before..].to_vec();
        said.retain(|warning| warning.contains(expected));
        let most = SPEAKERS * (1 + outage / TEN_ATTEMPTS);
        assert!(said.len() as u64 <= most, "{fault:?}: {} lines: {said:#?}", said.len());
        let attempts = said.iter().filter_map(|line| line.rsplit_once("attempt=")?.1.parse::<u32>().ok());
        assert!(attempts.clone().all(|attempt| attempt % 10 == 1), "{fault:?}: {said:#?}");
        assert!(process.runs(), "{fault:?}: {}", home.said());
        log(100);
    }
    let expected = by_minute(replayed(&home, &truth).0);
    let began = clock.now();
    let mut found = cloud.published().await;
    while sum(&found) < sum(&expected) && clock.now().millis_since(began) < 120_000 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        found = cloud.published().await;
    }
    process.stop();
    // Whatever was on its way when it stopped would be too much.
    found.clone_from(&cloud.published().await);
    let differences = differences(&expected, &found);
    assert!(differences.is_empty(), "{}\nsaid: {}", differences.join("\n"), home.said());
    let audit = home.ended("audit");
    assert_eq!(audit.code, Some(0), "{}{}", audit.stdout, audit.stderr);
}
