//! The pipeline on doubles of AWS that fail for a while: every line is counted once when it is over. Kills nothing.
//!
//! `LOGTALLY_OUTAGE=60 cargo test --test it process::outage` lets each outage last a minute.

use std::{path::PathBuf, process::Command, time::Duration};

use logtally::clock::Clock;
use tempfile::TempDir;

use super::{
    fleet::{CONFIG, Cloud, by_minute, sum},
    home::{DEADLINE_MS, Home},
    kill::asked,
    load::lines,
    memory::resident,
    oracle::{differences, replayed},
};
use crate::aws::bridge::{Bridge, Fault};

/// How many seconds an outage lasts at least in a run of the suite.
const OUTAGE: u64 = 3;
/// Lines that are written meanwhile.
const LINES_A_SECOND: u64 = 5_000;
/// Memory that the pipeline may take of its own meanwhile, in KiB.
const MOST_KIB: u64 = 64 * 1024;
/// Who speaks of an outage: the readers of five shards, two stages that look at the leases and renew them, and what
/// sends to the stream. Each says it once, and again after ten attempts, which take it this many seconds at least.
const SPEAKERS: u64 = 5 + 2 + 2 + 1;
const TEN_ATTEMPTS: u64 = 6;

fn warnings(home: &Home) -> Vec<String> {
    home.said().lines().filter(|line| line.contains(" WARN ")).map(str::to_owned).collect()
}

/// Kinesis and DynamoDB behind something that fails on request, by names that are lost on request.
struct Road {
    bridges: [Bridge; 2],
    directory: TempDir,
}

impl Road {
    fn to(cloud: &mut Cloud) -> Self {
        let streams = Bridge::start(cloud.kinesis.config.endpoint_url().unwrap());
        let tables = Bridge::start(cloud.bridge.endpoint());
        let road = Self { bridges: [streams, tables], directory: TempDir::new().unwrap() };
        let names = ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_DYNAMODB"];
        cloud.environment.retain(|(name, _)| !names.contains(&name.as_str()));
        let endpoint = |bridge: &Bridge| bridge.endpoint().replace("127.0.0.1", "road.double");
        let endpoints = road.bridges.iter().map(endpoint);
        cloud.environment.extend(names.map(str::to_owned).into_iter().zip(endpoints));
        let of_names = [("LD_PRELOAD", road.resolver()), ("DOUBLE_ADDRESS", road.address())];
        let text = |(name, path): (&str, PathBuf)| (name.to_owned(), path.to_str().unwrap().to_owned());
        cloud.environment.extend(of_names.map(text));
        road.mend();
        road
    }

    /// The library that answers for the road's name.
    fn resolver(&self) -> PathBuf {
        let library = self.directory.path().join("names.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/process/names.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(compiler.status().unwrap().success(), "{source} is compiled by cc");
        library
    }

    fn address(&self) -> PathBuf {
        self.directory.path().join("address")
    }

    fn suffer(&self, trouble: Trouble) {
        match trouble {
            Trouble::Calls(fault) => self.bridges.iter().for_each(|bridge| bridge.suffer(fault)),
            Trouble::Address(address) => std::fs::write(self.address(), address).unwrap(),
        }
    }

    fn mend(&self) {
        self.bridges.iter().for_each(Bridge::mend);
        std::fs::write(self.address(), "127.0.0.1").unwrap();
    }
}

/// What befalls the road.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// This becomes of each call.
    Calls(Fault),
    /// The services' name leads elsewhere, or nowhere.
    Address(&'static str),
}

/// What happens, and what of it is said.
const TROUBLES: [(Trouble, &str); 7] = [
    (Trouble::Calls(Fault::Answered(500, "InternalFailure")), "InternalFailure"),
    (
        Trouble::Calls(Fault::Answered(400, "ProvisionedThroughputExceededException")),
        "ProvisionedThroughputExceededException",
    ),
    (Trouble::Calls(Fault::Halved), "end of file before message length reached"),
    (Trouble::Calls(Fault::Lost), "connection closed before message completed"),
    // Nobody listens there.
    (Trouble::Address("127.0.0.2"), "Connection refused"),
    (Trouble::Address(""), "dns error"),
    (Trouble::Calls(Fault::Silent), "operation attempt timeout"),
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
    let refused =
        home.scripted("AWS_ENDPOINT_URL_KINESIS=http://nowhere.double DOUBLE_ADDRESS= $LOGTALLY run");
    assert_eq!(refused.code, Some(69), "{}", refused.stderr);
    let last = refused.stderr.lines().last().unwrap();
    assert!(last.starts_with("logtally: kinesis:") && last.contains("dns error"), "{last}");

    log(100);
    let mut process = home.start("run");
    let clock = Clock::system();
    let began = clock.now();
    while sum(&cloud.published().await) == 0 {
        assert!(process.runs() && clock.now().millis_since(began) < DEADLINE_MS, "{}", home.said());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let outage = asked("LOGTALLY_OUTAGE").unwrap_or(OUTAGE);
    let mut most_kib = 0;
    for (trouble, expected) in TROUBLES {
        let before = warnings(&home).len();
        let suffers = clock.now();
        road.suffer(trouble);
        for _ in 0..outage {
            log(LINES_A_SECOND);
            tokio::time::sleep(Duration::from_secs(1)).await;
            most_kib = most_kib.max(resident(&process));
        }
        home.until(expected, || {
            let said = &warnings(&home)[before..];
            said.iter().any(|warning| warning.contains(expected))
        });
        road.mend();
        // What the outage before is still said for is not of this one.
        let mut said = warnings(&home)[before..].to_vec();
        said.retain(|warning| warning.contains(expected));
        let lasted = clock.now().millis_since(suffers).unsigned_abs() / 1_000;
        let most = SPEAKERS * (1 + lasted / TEN_ATTEMPTS);
        assert!(said.len() as u64 <= most, "{trouble:?}: {} lines: {said:#?}", said.len());
        let attempts = said.iter().filter_map(|line| line.rsplit_once("attempt=")?.1.parse::<u32>().ok());
        assert!(attempts.clone().all(|attempt| attempt % 10 == 1), "{trouble:?}: {said:#?}");
        assert!(process.runs(), "{trouble:?}: {}", home.said());
        log(100);
    }
    println!("{most_kib} KiB at most");
    assert!(most_kib < MOST_KIB, "{most_kib} KiB");
    let expected = by_minute(replayed(&home, &truth).0);
    cloud.published_in_the_end(sum(&expected)).await;
    process.stop();
    // Whatever was on its way when it stopped would be too much.
    let found = cloud.published().await;
    let differences = differences(&expected, &found);
    assert!(differences.is_empty(), "{}\nsaid: {}", differences.join("\n"), home.said());
    let audit = home.ended("audit");
    assert_eq!(audit.code, Some(0), "{}{}", audit.stdout, audit.stderr);
}
