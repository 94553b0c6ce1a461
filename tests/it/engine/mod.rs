//! The engine as its stages use it: records in, rows out, over cuts and deaths.

mod exact;
mod lines;
mod objects;
mod plainly;
mod windows;

use std::{collections::BTreeMap, sync::Arc};

use logtally::engine::{
    count::{Block, Counter, Plan, TimeSource},
    engine::Engine,
    format::LogFormat,
    reference::Reference,
    row::{Origin, Output, Row},
    settings::{Mode, Settings},
    state::State,
    time::{Timestamp, WindowSize},
};

/// A short format, so that tests read well: host, milliseconds, status, bytes.
pub(crate) const FORMAT: &str = "%h %{msec}t %>s %b";
pub(crate) const HOSTS: &str = "Host,ApplicationName,Contact\n\
    10.0.0.1,Billing,billing@example.com\n\
    10.0.0.2,Billing,second@example.com\n\
    web.example.com,Search,search@example.com\n";

/// Sums of rows by window start, application, contact and response: requests and bytes.
pub(crate) type Sums = BTreeMap<(Timestamp, String, String, Option<u16>), (u64, u64)>;

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn plan(window: WindowSize) -> Arc<Plan> {
    Arc::new(Plan { format: LogFormat::compile(FORMAT).unwrap(), window, time: TimeSource::Event })
}

pub(crate) fn counter(window: WindowSize) -> Counter {
    Counter::new(plan(window), Arc::new(Reference::parse(HOSTS.as_bytes()).unwrap().reference))
}

pub(crate) fn settings(mode: Mode) -> Settings {
    Settings {
        origin: Origin { pipeline: "p".to_owned(), epoch: 1, shard: "s".to_owned() },
        mode,
        allowed_lateness_ms: 10_000,
        correction_interval_ms: 60_000,
        share: 1_000_000_000,
        zero_rows: false,
        top_hosts: 5,
    }
}

pub(crate) fn engine(settings: Settings, state: State) -> Engine {
    let window = state.window;
    Engine::new(settings, counter(window), state).0
}

pub(crate) fn rows(outputs: &[Output]) -> Vec<&Row> {
    outputs.iter().filter_map(row).collect()
}

fn row(output: &Output) -> Option<&Row> {
    match output {
        Output::Row(row) => Some(row),
        Output::Health(_) => None,
    }
}

pub(crate) fn sums(outputs: &[Output]) -> Sums {
    let mut sums = Sums::new();
    for row in rows(outputs).into_iter().filter(|row| row.response_count > 0) {
        let key = (row.window_start, row.application_name.clone(), row.contact.clone(), row.response);
        let sum = sums.entry(key).or_default();
        *sum = (sum.0 + row.response_count, sum.1 + row.bytes);
    }
    sums
}

/// What the lines come to, counted at once.
pub(crate) fn counted_at_once(lines: &str, window: WindowSize) -> (Sums, u64) {
    let mut block = Block::default();
    counter(window).count(lines.as_bytes(), Timestamp::MIN, &mut block);
    assert!(block.counters.balance());
    let malformed = block.counters.malformed_lines();
    let mut engine = engine(settings(Mode::Replay), State::new(window));
    engine.absorb(block);
    (sums(&engine.close()), malformed)
}
