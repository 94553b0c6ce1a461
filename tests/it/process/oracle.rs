//! What the metrics hold against what a replay of the true lines says. Moves nothing.

use std::collections::BTreeMap;

use logtally::{
    clock::Clock,
    engine::{metric::status_class, time::Timestamp},
};
use rusqlite::Connection;
use serde_json::Value;

use super::home::Home;

/// Requests by window, application and class of response.
pub(super) type Counts = BTreeMap<(Timestamp, String, String), u64>;

/// The database of a home, past the backend.
pub(super) fn database(home: &Home) -> Connection {
    let connection = Connection::open(home.path("state/logtally.db")).unwrap();
    connection.busy_timeout(std::time::Duration::from_mins(1)).unwrap();
    connection
}

/// What was published; nothing as long as there is no database.
pub(super) fn metrics(home: &Home) -> Counts {
    if !home.path("state/logtally.db").exists() {
        return Counts::new();
    }
    let database = database(home);
    let query = "SELECT ts, dims, CAST(sum AS INTEGER) FROM metric JOIN series ON series = series.id \
                 WHERE name = 'ResponseCount' AND sum <> 0";
    let Ok(mut statement) = database.prepare(query) else { return Counts::new() };
    let counts = statement.query_map((), |row| {
        let dims: String = row.get(1)?;
        let dims: Vec<(String, String)> = serde_json::from_str(&dims).unwrap();
        let key = (Timestamp::from_millis(row.get(0)?), dims[0].1.clone(), dims[1].1.clone());
        Ok((key, u64::try_from(row.get::<_, i64>(2)?).unwrap()))
    });
    counts.unwrap().map(Result::unwrap).collect()
}

/// Requests by application.
pub(super) fn totals(counts: &Counts) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    for ((_, application, _), requests) in counts {
        *totals.entry(application.clone()).or_default() += requests;
    }
    totals
}

/// Requests of one application that were published.
pub(super) fn published(home: &Home, application: &str) -> u64 {
    totals(&metrics(home)).remove(application).unwrap_or_default()
}

/// What a replay of `lines` counts, and how many of them are malformed.
pub(super) fn replayed(home: &Home, lines: &str) -> (Counts, u64) {
    home.write("truth.txt", lines);
    let ended = home.ended("replay truth.txt --format csv");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut counts = Counts::new();
    let mut rows = csv::Reader::from_reader(ended.stdout.as_bytes());
    for row in rows.records() {
        let row = row.unwrap();
        let start = Timestamp::parse_rfc3339(&row[1]).unwrap();
        let class = status_class(row[6].parse().ok());
        *counts.entry((start, row[4].to_owned(), class)).or_default() += row[7].parse::<u64>().unwrap();
    }
    let malformed = ended.stderr.split(" counted, ").nth(1).unwrap();
    (counts, malformed.split(' ').next().unwrap().parse().unwrap())
}

/// Processes what is there once every window of lines written until now is over.
#[track_caller]
pub(super) fn finish(home: &Home) {
    let clock = Clock::system();
    let second = |time: Timestamp| time.as_millis().div_euclid(1_000);
    let last = second(clock.now());
    home.until("the last window is over", || second(clock.now()) > last + 1);
    home.result("run --once");
}

/// What differs between what was expected and what was found.
pub(super) fn differences(expected: &Counts, found: &Counts) -> Vec<String> {
    let differ = |key: &&(Timestamp, String, String)| expected.get(*key) != found.get(*key);
    let keys: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).filter(differ).collect();
    keys.iter().map(|key| format!("{key:?}: {:?}, found {:?}", expected.get(key), found.get(key))).collect()
}

/// Holds everything that was published to the true lines: every window, every application, every line.
#[track_caller]
pub(super) fn assert_exact(home: &Home, lines: &str) {
    let (expected, malformed) = replayed(home, lines);
    let found = metrics(home);
    let differences = differences(&expected, &found);
    assert!(differences.is_empty(), "{}\nstatus: {}", differences.join("\n"), home.result("status"));
    assert_eq!(reported(home), totals(&expected));
    assert_eq!(books(home), (lines.lines().count() as u64, malformed), "{}", home.result("status"));
    assert_balanced(home);
}

/// Requests by application, as `report` says them.
#[track_caller]
pub(super) fn reported(home: &Home) -> BTreeMap<String, u64> {
    let text = home.result("report --format json --since 2020-01-01T00:00:00Z");
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let requests =
        |row: Value| (row["applicationName"].as_str().unwrap().to_owned(), row["requests"].as_u64().unwrap());
    rows.map(requests).filter(|(_, requests)| *requests > 0).collect()
}

/// Lines, each counted once though it was read twice, and those of them that are malformed, as `status` says them.
#[track_caller]
fn books(home: &Home) -> (u64, u64) {
    let text = home.result("status --format json");
    let mut sums = (0, 0);
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| row[name].as_u64().unwrap_or_default();
        if row.get("duplicate").is_some() {
            sums = (sums.0 + number("lines") - number("duplicate"), sums.1 + number("malformed"));
        }
    }
    sums
}

#[track_caller]
pub(super) fn assert_balanced(home: &Home) {
    let audit = home.ended("audit");
    assert_eq!(audit.code, Some(0), "{}{}", audit.stdout, audit.stderr);
}
