//! Any sequence of records, marks, cuts and reloads: every line lands in one row, once, under the key that a simple
//! model gives it; the books balance after each step, and no row id comes twice.

#![no_main]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use logtally::engine::{
    count::{Counter, Plan, TimeSource},
    counters::Counters,
    cut::{Cut, CutRef},
    engine::Engine,
    format::LogFormat,
    provenance::{Node, Provenance, SourceId},
    record::Record,
    reference::Reference,
    row::{Origin, Output},
    settings::{Mode, Settings},
    state::State,
    time::{Timestamp, WindowSize},
};

#[derive(Arbitrary, Debug)]
struct Input {
    live: bool,
    zero_rows: bool,
    lateness: u16,
    interval: u16,
    file: Vec<Line>,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Line {
    host: u8,
    seconds: u32,
    status: u8,
    bytes: u16,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// These lines of one of three files, with their provenance; perhaps again.
    Send {
        file: u8,
        from: u8,
        lines: u8,
        arrival: i32,
    },
    /// A line of no file.
    Loose {
        line: Line,
        arrival: i32,
    },
    /// The reader says that the shard is complete so far.
    Advance(i32),
    Corrections,
    /// Saves and loads the state; with another size of windows if this is one.
    Restart(u8),
    /// Puts other reference data in force.
    Reload(u8),
}

const SIZES: [i64; 3] = [1_000, 60_000, 300_000];
const HOSTS: [&str; 3] = [
    "Host,ApplicationName,Contact\n10.0.0.0,A,a@example.com\n10.0.0.1,B,b@example.com\n",
    "Host,ApplicationName,Contact\n10.0.0.1,A,a@example.com\n10.0.0.2,A,other@example.com\n",
    "Host,ApplicationName,Contact\n",
];

static FORMAT: LazyLock<LogFormat> =
    LazyLock::new(|| LogFormat::compile("%h %{sec}t %>s %b").expect("a log format"));
static REFERENCES: LazyLock<[Arc<Reference>; 3]> = LazyLock::new(|| {
    HOSTS.map(|csv| Arc::new(Reference::parse(csv.as_bytes()).expect("reference data").reference))
});

/// Requests and bytes by window, application, contact and status.
type Sums = BTreeMap<(i64, String, String, Option<u16>), (u64, u64)>;

struct House<'i> {
    input: &'i Input,
    engine: Engine,
    size: i64,
    reference: usize,
    /// Where each line of a file begins, and where the last one ends.
    starts: Vec<u64>,
    sent: [BTreeSet<usize>; 3],
    expected: Sums,
    lines: u64,
    rows: Vec<Output>,
}

fuzz_target!(|input: Input| {
    let mut starts = vec![0];
    starts.extend(input.file.iter().scan(0, |end, line| {
        *end += line.text().len() as u64;
        Some(*end)
    }));
    let state = State::new(WindowSize::from_millis(SIZES[2]).expect("a size of windows"));
    let mut house = House {
        input: &input,
        engine: engine(&input, state, 2, 0).0,
        size: SIZES[2],
        reference: 0,
        starts,
        sent: Default::default(),
        expected: Sums::new(),
        lines: 0,
        rows: Vec::new(),
    };
    for step in &input.steps {
        house.step(step);
        let state = house.engine.state();
        assert!(state.balances() && state.counters.read == house.lines, "{:?}", state.counters);
    }
    house.end();
});

fn engine(input: &Input, state: State, size: usize, reference: usize) -> (Engine, Vec<Output>) {
    let settings = Settings {
        origin: Origin { pipeline: "p".to_owned(), epoch: 1, shard: "s".to_owned() },
        mode: if input.live { Mode::Live } else { Mode::Replay },
        allowed_lateness_ms: input.lateness.into(),
        correction_interval_ms: i64::from(input.interval) * 10,
        share: 1_000_000_000,
        zero_rows: input.zero_rows,
        top_hosts: 3,
    };
    let window = WindowSize::from_millis(SIZES[size]).expect("a size of windows");
    let plan = Plan { format: FORMAT.clone(), window, time: TimeSource::Event };
    Engine::new(settings, Counter::new(Arc::new(plan), Arc::clone(&REFERENCES[reference])), state)
}

impl Line {
    fn text(self) -> String {
        let Self { host, seconds, bytes, .. } = self;
        format!("10.0.0.{} {seconds} {} {bytes}\n", host % 4, self.response().unwrap_or(1))
    }

    /// A few of the statuses; some lines are malformed.
    fn response(self) -> Option<u16> {
        (self.status % 8 != 7).then(|| 200 + u16::from(self.status % 8))
    }
}

impl House<'_> {
    fn step(&mut self, step: &Step) {
        let mut rows = match *step {
            Step::Send { file, from, lines, arrival } => {
                return self.send(file, from.into(), lines.into(), arrival);
            }
            Step::Loose { line, arrival } => {
                self.expect(line);
                self.lines += 1;
                return self.push("", &line.text(), arrival);
            }
            Step::Advance(mark) => self.engine.advance(at(mark)),
            Step::Corrections => self.engine.publish_corrections(),
            Step::Restart(size) => self.restart(usize::from(size) % SIZES.len()),
            Step::Reload(reference) => {
                self.reference = usize::from(reference) % HOSTS.len();
                self.engine.set_reference(Arc::clone(&REFERENCES[self.reference]));
                return;
            }
        };
        self.rows.append(&mut rows);
    }

    fn send(&mut self, file: u8, from: usize, lines: usize, arrival: i32) {
        let all = &self.input.file;
        let file = usize::from(file) % self.sent.len();
        let from = from.min(all.len());
        let to = (from + lines).min(all.len());
        let acked = (0..=all.len()).find(|line| !self.sent[file].contains(line)).unwrap_or_default();
        let source = SourceId { node: Node(1), generation: file as u64 };
        let (start, end) = (self.starts[from], self.starts[to]);
        let provenance = Provenance { source, start, end, acked: self.starts[acked] };
        for line in from..to {
            self.lines += 1;
            if self.sent[file].insert(line) {
                self.expect(all[line]);
            }
        }
        let text: String = all[from..to].iter().map(|line| line.text()).collect();
        self.push(&provenance.to_string(), &text, arrival);
    }

    fn push(&mut self, partition_key: &str, text: &str, arrival: i32) {
        self.engine.push(Record { partition_key, data: text.as_bytes(), arrival: at(arrival) });
    }

    /// What the line should come to.
    fn expect(&mut self, line: Line) {
        let Some(response) = line.response() else { return };
        let millis = i64::from(line.seconds) * 1_000;
        let host = format!("10.0.0.{},", line.host % 4);
        let owner = HOSTS[self.reference].lines().find_map(|row| row.strip_prefix(&host)?.split_once(','));
        let (application, contact) = owner.unwrap_or(("Unknown", ""));
        let window = millis.div_euclid(self.size) * self.size;
        let key = (window, application.to_owned(), contact.to_owned(), Some(response));
        let sum = self.expected.entry(key).or_default();
        *sum = (sum.0 + 1, sum.1 + u64::from(line.bytes));
    }

    fn restart(&mut self, size: usize) -> Vec<Output> {
        let cut = CutRef { epoch: 1, ended: false, state: self.engine.state(), outbox: &[] };
        let cut = Cut::decode(&cut.encode().expect("a cut is encoded")).expect("it is decoded");
        self.size = SIZES[size];
        let (engine, rows) = engine(self.input, cut.state, size, self.reference);
        self.engine = engine;
        rows
    }

    fn end(mut self) {
        self.rows.extend(self.engine.close());
        let mut found = Sums::new();
        let mut ids = BTreeSet::new();
        let mut books = Counters::default();
        for output in &self.rows {
            assert!(ids.insert(output.id()), "{} came twice", output.id());
            match output {
                Output::Health(health) => books += &health.row.counters,
                Output::Row(row) if row.response_count == 0 => assert!(self.input.zero_rows),
                Output::Row(row) => {
                    let (application, contact) = (row.application_name.clone(), row.contact.clone());
                    let sum = found
                        .entry((row.window_start.as_millis(), application, contact, row.response))
                        .or_default();
                    *sum = (sum.0 + row.response_count, sum.1 + row.bytes);
                }
            }
        }
        assert_eq!(found, self.expected);
        if self.input.live {
            assert_eq!(&books, self.engine.counters());
        }
    }
}

fn at(seconds: i32) -> Timestamp {
    Timestamp::from_millis(i64::from(seconds) * 1_000)
}
