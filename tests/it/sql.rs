//! The engine against an independent oracle: the `DuckDB` queries of `sql-equivalents/` over the fixture. Trusts no
//! golden file that `DuckDB` does not give again. Needs python3 (3.11 or later) and, once, the package registry.

#![cfg(test)]

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// Window start, window end, application, contact, response.
type Key = [String; 5];

/// Requests and bytes by key: what is left of rows when corrections and zero rows are summed up.
type Sums = BTreeMap<Key, (u64, u64)>;

/// Requests by window start and host.
type Hosts = BTreeMap<(String, String), u64>;

const LOG: &str = "fixtures/access.log";

/// Lines of the log that httpd wrote and that are refused nevertheless: their users could be two records torn into one.
const REFUSED: usize = 6;

const KEY: [&str; 5] = ["windowStart", "windowEnd", "applicationName", "contact", "response"];

#[test]
fn duckdb_gives_the_golden_response_counts() {
    assert_golden("response_counts");
}

#[test]
fn duckdb_gives_the_golden_unknown_hosts() {
    assert_golden("unknown_hosts");
}

#[test]
fn the_golden_files_agree_with_each_other_and_with_the_log() {
    let counts = sums(&read("fixtures/golden/response_counts.csv"));
    let requests: u64 = counts.values().map(|(requests, _)| requests).sum();
    let lines = read(LOG).lines().count() - REFUSED;
    assert_eq!(requests, lines as u64, "every line but the refused ones is counted once");

    let mut unknown: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows(&read("fixtures/golden/unknown_hosts.csv")) {
        *unknown.entry(row["windowStart"].clone()).or_default() += number(&row["requests"]);
    }
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for ([window, _, application, ..], (requests, _)) in counts {
        if application == "Unknown" {
            *expected.entry(window).or_default() += requests;
        }
    }
    assert_eq!(unknown, expected);
}

#[test]
fn the_engine_gives_the_response_counts_of_duckdb() {
    let oracle = sums(&duckdb("response_counts", LOG));
    let engine = sums(&replay(&[LOG, "--format", "csv"]));
    for key in oracle.keys().chain(engine.keys()) {
        assert_eq!(engine.get(key), oracle.get(key), "{key:?}: the engine (left) and DuckDB (right)");
    }
}

#[test]
fn the_engine_gives_the_unknown_hosts_of_duckdb() {
    assert_same_hosts(&hosts_by_engine(LOG), &hosts_by_duckdb(LOG));
}

#[test]
fn the_engine_and_duckdb_refuse_the_same_users() {
    let users = [
        "-",
        "[",
        "[1",
        "a[10/Oct/2000:",
        r"\x1b[31m",
        r#"a\"b"#,
        "- -",
        "- frank",
        "frank -",
        "- [10/Oct/2000",
    ]
    .into_iter()
    .chain(["John Doe", "Mary Ann Smith", "Dr. Who", "J. R. R. Tolkien", "john.doe smith", "a- b", "-a b"])
    .chain(["10.0.0.2 - -", "10.0.0.2 id bob", "x 10.0.0.2 id bob", "::1 id bob", "a.example.com id bob"])
    .chain(["a: id bob", "a. id bob", "a.. id bob", ". id bob", "a b.c d", "a b c.d", "a:b c", "x.y b c d"])
    .chain([
        "carol o [ops]",
        "a [b] c",
        "a [",
        "a [1",
        "a[1 b",
        "[ a",
        "a  b",
        " a",
        "a ",
        " - a",
        "a - b",
        "a b-",
    ])
    .flat_map(|user| [("-", user), ("id", user)]);
    let mut log = tempfile::NamedTempFile::new().unwrap();
    let mut lines = 0;
    for (number, (ident, user)) in users.enumerate() {
        // Each has a host of its own, so that the hosts tell which of them were taken.
        let host = format!("u{number}.example.com");
        writeln!(log, r#"{host} {ident} {user} [24/Oct/2026:22:13:37 +0000] "GET / HTTP/1.1" 200 5 "-" "-""#)
            .unwrap();
        lines += 1;
    }
    let log = log.path().to_str().unwrap();
    let (engine, oracle) = (hosts_by_engine(log), hosts_by_duckdb(log));
    assert!(
        (1..lines).contains(&oracle.len()),
        "some are taken and some refused: {} of {lines}",
        oracle.len()
    );
    assert_same_hosts(&engine, &oracle);
}

#[test]
fn rotated_pieces_in_any_order_give_the_rows_of_the_whole_log() {
    let whole = published(&replay(&[LOG, "--format", "csv"]));
    assert!(!whole.is_empty());
    let mut pieces =
        ["", ".1", ".2.gz", ".3.gz"].map(|suffix| format!("fixtures/rotated/access.log{suffix}"));
    for _ in 0..2 {
        pieces.reverse();
        for _ in 0..pieces.len() {
            pieces.rotate_left(1);
            let mut arguments: Vec<&str> = pieces.iter().map(String::as_str).collect();
            arguments.extend(["--format", "csv"]);
            assert!(published(&replay(&arguments)) == whole, "{pieces:?}: other rows than {LOG}");
        }
    }
}

fn assert_golden(query: &str) {
    let golden = read(&format!("fixtures/golden/{query}.csv"));
    let given = duckdb(query, LOG);
    for (line, (given, golden)) in given.lines().zip(golden.lines()).enumerate() {
        assert_eq!(given, golden, "golden/{query}.csv line {}: DuckDB (left), file (right)", line + 1);
    }
    assert_eq!(given, golden, "golden/{query}.csv: one has more lines than the other");
}

fn assert_same_hosts(engine: &Hosts, oracle: &Hosts) {
    for key in oracle.keys().chain(engine.keys()) {
        assert_eq!(engine.get(key), oracle.get(key), "{key:?}: the engine (left) and DuckDB (right)");
    }
}

/// The unknown hosts that `replay` names; all of them, and exactly: no window has more than it may name.
fn hosts_by_engine(log: &str) -> Hosts {
    let mut hosts = Hosts::new();
    for line in replay(&[log, "--format", "json", "--top", "1000"]).lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        for named in row["topHosts"].as_array().into_iter().flatten() {
            assert_eq!(named["error"], 0, "{line}");
            let key = [&row["windowStart"], &named["host"]].map(|text| text.as_str().unwrap().to_owned());
            *hosts.entry(key.into()).or_default() += named["count"].as_u64().unwrap();
        }
    }
    hosts
}

fn hosts_by_duckdb(log: &str) -> Hosts {
    let hosts = rows(&duckdb("unknown_hosts", log)).into_iter();
    hosts.map(|row| ((row["windowStart"].clone(), row["host"].clone()), number(&row["requests"]))).collect()
}

/// What `logtally replay` prints with the fixture's reference data.
fn replay(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logtally"));
    command.current_dir(root()).args(["replay", "--reference", "fixtures/hosts.csv"]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The rows without what depends on how the log was cut into pieces.
fn published(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut rows = rows(csv);
    for row in &mut rows {
        row.retain(|name, _| !["rowId", "revision"].contains(&name.as_str()));
    }
    rows
}

/// What `run.py duckdb` prints for `query` over `log`; makes its virtual environment first where there is none.
fn duckdb(query: &str, log: &str) -> String {
    let mut command = Command::new("python3");
    command.current_dir(root()).arg("sql-equivalents/run.py").args(["duckdb", "--query", query]);
    command.args(["--log", log, "--reference", "fixtures/hosts.csv"]);
    let output = command.output().unwrap_or_else(|error| {
        panic!("the oracle needs python3 (3.11 or later, with venv and pip): {error}")
    });
    let diagnostics = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "sql-equivalents/run.py failed; it needs python3 with venv and pip, and the package registry once:\n{diagnostics}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Sums by key; rows whose counts are zero say nothing here.
fn sums(csv: &str) -> Sums {
    let mut sums = Sums::new();
    for row in rows(csv) {
        let sum = sums.entry(KEY.map(|name| row[name].clone())).or_default();
        sum.0 += number(&row["responseCount"]);
        sum.1 += number(&row["bytes"]);
    }
    sums.retain(|_, sum| *sum != (0, 0));
    sums
}

/// The rows of a CSV text by the names of its header.
fn rows(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    reader.deserialize().map(|row| row.unwrap_or_else(|error| panic!("bad CSV: {error}"))).collect()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
