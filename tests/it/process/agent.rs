//! The flows of an Amazon Kinesis Agent, served, killed and rotated away under: nothing lost, no record split.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::{self, File},
    io::Write,
    time::Duration,
};

use logtally::{
    backend::{
        Backend, StartAt, Stream, StreamReader,
        embedded::{Embedded, Settings},
    },
    clock::Clock,
    engine::{
        agent::{ApacheLog, Chain, JsonFormat, LogToJson, Step},
        count::line_count,
        format::StampCache,
        provenance::Provenance,
        time::Timestamp,
    },
};
use md5::{Digest, Md5};
use rustix::process::Signal;

use super::{
    home::Home,
    load::{Random, Rotation, Writer, lines},
};

/// Flows go to files here, and not to AWS.
const CONFIG: &str = "backend = \"embedded\"\nstate_dir = \"state\"\n";

/// How often the process is killed.
const KILLS: u64 = 8;

fn agent_json(home: &Home, name: &str, flows: &[&str]) {
    let here = home.path("");
    let text = format!("/* ours */ {{\"cloudwatch.emitMetrics\": true, \"flows\": [{}]}}", flows.join(","));
    home.write(name, &text.replace("HERE", here.to_str().unwrap().trim_end_matches('/')));
}

/// Every record of the stream of a flow: partition key and data.
fn records(home: &Home, stream: &str) -> Vec<(String, Vec<u8>)> {
    let directories = fs::read_dir(home.path("state/agent")).unwrap().map(|entry| entry.unwrap());
    let mut ours = directories.filter(|entry| entry.file_name().to_str().unwrap().starts_with(stream));
    let file = ours.next().unwrap().path().join("logtally.db");
    assert!(ours.next().is_none());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = Settings { create: false, ..Settings::new(file, Clock::system()) };
        let backend = Embedded::open(settings).await.unwrap();
        let mut records = Vec::new();
        for shard in backend.shards(Stream::Input).await.unwrap() {
            let mut reader = backend.reader(Stream::Input, &shard.id, StartAt::TrimHorizon).await.unwrap();
            loop {
                let batch = reader.next_batch().await.unwrap();
                if batch.records.is_empty() {
                    break;
                }
                let record =
                    |record: logtally::backend::Incoming| (record.partition_key, record.data.to_vec());
                records.extend(batch.records.into_iter().map(record));
            }
        }
        records
    })
}

fn texts(records: Vec<(String, Vec<u8>)>) -> Vec<String> {
    records.into_iter().map(|(_, data)| String::from_utf8(data).unwrap()).collect()
}

/// What the flow `json` makes of a line.
fn as_json(line: &str) -> String {
    let step = LogToJson::apache(ApacheLog::Combined, None, JsonFormat::Compact).unwrap();
    let chain = Chain(vec![Step::LogToJson(step)]);
    let (data, _) = chain.apply(line.as_bytes().to_vec(), Timestamp::MIN, &mut StampCache::default());
    String::from_utf8(data).unwrap()
}

/// Writes records of several lines, in pieces that end anywhere, and moves the file away now and then.
struct Stacks {
    file: File,
    random: Random,
    written: Vec<String>,
}

impl Stacks {
    fn open(home: &Home) -> File {
        File::options().append(true).create(true).open(home.path("stacks.log")).unwrap()
    }

    fn write(&mut self, home: &Home, count: u64) {
        for _ in 0..count {
            let number = self.written.len();
            let mut record = format!(
                "[{number}] failed
"
            );
            for line in 0..self.random.below(5) {
                writeln!(record, "  at {number}.{line}").unwrap();
            }
            let (first, second) =
                record.split_at(usize::try_from(self.random.below(record.len() as u64)).unwrap());
            self.file.write_all(first.as_bytes()).unwrap();
            if self.random.below(20) == 0 {
                std::thread::sleep(Duration::from_millis(self.random.below(30)));
            }
            self.file.write_all(second.as_bytes()).unwrap();
            self.written.push(record);
        }
        fs::rename(home.path("stacks.log"), home.path(&format!("stacks.log.{}", self.written.len())))
            .unwrap();
        self.file = Self::open(home);
    }
}

#[test]
fn a_killed_process_loses_nothing_and_splits_no_record() {
    let seed = getrandom::u64().unwrap();
    println!("seed {seed}");
    let home = Home::with(CONFIG);
    agent_json(
        &home,
        "agent.json",
        &[
            r#"{"filePattern": "HERE/access.log*", "kinesisStream": "plain", "initialPosition": "START_OF_FILE",
                "maxBufferAgeMillis": 1000}"#,
            r#"{"filePattern": "HERE/access.log*", "kinesisStream": "json", "initialPosition": "START_OF_FILE",
                "partitionKeyOption": "DETERMINISTIC", "maxBufferSizeRecords": 100,
                "dataProcessingOptions": [{"optionName": "LOGTOJSON", "logFormat": "COMBINEDAPACHELOG"}]}"#,
        ],
    );
    let stacks = r#"{"filePattern": ["HERE/stacks.log*"], "kinesisStream": "stacks", "initialPosition": "START_OF_FILE",
        "multiLineStartPattern": "^\\["}"#;
    fs::create_dir(home.path("agent.d")).unwrap();
    agent_json(&home, "agent.d/stacks.json", &[stacks]);

    let writer = Writer::start(&home, Rotation::CopyTruncate, seed);
    let mut stacks = Stacks { file: Stacks::open(&home), random: Random(seed), written: Vec::new() };
    let mut random = Random(seed);
    for _ in 0..KILLS {
        let process = home.start("produce --agent-config agent.json");
        stacks.write(&home, 200);
        std::thread::sleep(Duration::from_millis(random.below(1_500)));
        process.kill();
        // Shorter than it takes to rotate twice: what is compressed is no longer read, as the agent has it.
        stacks.write(&home, 50);
    }
    let process = home.start("produce --agent-config agent.json");
    home.until_said("serving 3 of 3 flows");
    std::thread::sleep(Duration::from_millis(500));
    let truth = writer.stop();
    stacks.write(&home, 10);
    process.stop();
    home.result("produce --agent-config agent.json --once");

    let mut plain = BTreeMap::new();
    for (key, data) in records(&home, "plain") {
        let Provenance { source, start, end, .. } = key.parse().unwrap();
        assert_eq!(end - start, data.len() as u64);
        assert_eq!(line_count(&data), 1, "each line is a record");
        if let Some(before) = plain.insert((source, start), data.clone()) {
            assert_eq!(before, data, "what is sent twice says so");
        }
    }
    let written: BTreeSet<&str> = truth.split_inclusive('\n').collect();
    let sent: BTreeSet<&str> = plain.values().map(|line| str::from_utf8(line).unwrap()).collect();
    assert_eq!(plain.len(), truth.split_inclusive('\n').count());
    assert_eq!(sent, written);

    let json = records(&home, "json");
    for (key, data) in &json {
        assert_eq!(*key, format!("{:032x}", u128::from_be_bytes(Md5::digest(data).into())));
    }
    let expected: BTreeSet<String> = written.into_iter().map(as_json).collect();
    assert_eq!(texts(json).into_iter().collect::<BTreeSet<_>>(), expected);

    let sent: BTreeSet<String> = texts(records(&home, "stacks")).into_iter().collect();
    let written: BTreeSet<String> = stacks.written.into_iter().collect();
    assert_eq!(sent, written, "no record is split or joined with another");
}

#[test]
fn headers_are_skipped_and_old_lines_not_sent() {
    let home = Home::with(CONFIG);
    agent_json(
        &home,
        "agent.json",
        &[
            r#"{"filePattern": "HERE/*.dat", "kinesisStream": "csv", "initialPosition": "START_OF_FILE",
                "skipHeaderLines": 2, "dataProcessingOptions":
                [{"optionName": "CSVTOJSON", "customFieldNames": ["a", "b"]},
                 {"optionName": "ADDMETADATA", "metadata": {"of": "me"}}]}"#,
            r#"{"filePattern": "HERE/access.log", "kinesisStream": "end"}"#,
        ],
    );
    home.write("one.dat", "a,b\n-,-\n1,2\n");
    home.write("two.dat", "a,b\n");
    home.log("old\n");
    let produce = "produce --agent-config agent.json --once";
    home.result(produce);
    assert_eq!(
        texts(records(&home, "csv")),
        [r#"{"metadata":{"of":"me"},"data":"{\"a\":\"1\",\"b\":\"2\"}"}"#.to_owned() + "\n"]
    );
    home.write("two.dat", "a,b\n-,-\n3\n");
    home.log("new\n");
    home.result(produce);
    let sent = texts(records(&home, "csv"));
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().any(|record| record.contains(r#"\"a\":\"3\",\"b\":null"#)), "{sent:?}");
    assert_eq!(texts(records(&home, "end")), ["new\n"]);
}

#[test]
fn a_changed_configuration_is_served_after_sighup_and_a_broken_one_is_not() {
    let home = Home::with(CONFIG);
    let flow = |stream: &str| {
        format!(
            r#"{{"filePattern": "HERE/access.log", "kinesisStream": "{stream}", "initialPosition": "START_OF_FILE"}}"#
        )
    };
    agent_json(&home, "agent.json", &[&flow("first")]);
    let process = home.start("produce --agent-config agent.json");
    home.until_said("serving 1 of 1 flows");
    home.write("agent.json", "{");
    process.signal(Signal::HUP);
    home.until_said("keeping the last good configuration");
    agent_json(&home, "agent.json", &[&flow("first"), &flow("second"), r#"{"deliveryStream": "x"}"#]);
    process.signal(Signal::HUP);
    home.until_said("serving 2 of 3 flows");
    home.log(&lines("10.0.0.3", 5));
    process.signal(Signal::HUP);
    home.until_said("the configuration has not changed");
    process.stop();
    home.result("produce --agent-config agent.json --once");
    for stream in ["first", "second"] {
        let keys: BTreeSet<String> = records(&home, stream).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 5, "{stream}");
    }
}
