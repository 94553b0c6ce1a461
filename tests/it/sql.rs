//! The engine against an independent oracle: the `DuckDB` queries of `sql-equivalents/` over the fixture. Trusts no
//! golden file that `DuckDB` does not give again. Needs python3 (3.11 or later) and, once, the package registry.

#![cfg(test)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

/// Window start, window end, application, contact, response.
type Key = [String; 5];

/// Requests and bytes by key: what is left of rows when corrections and zero rows are summed up.
type Sums = BTreeMap<Key, (u64, u64)>;

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
    let lines = read("fixtures/access.log").lines().count();
    assert_eq!(requests, lines as u64, "every line of the fixture is well-formed, and counted once");

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

/// Not a test yet: `replay` is to come.
#[test]
fn the_engine_gives_the_rows_of_duckdb() {
    let oracle = sums(&duckdb("response_counts"));
    let output = Command::new(env!("CARGO_BIN_EXE_logtally"))
        .args(["replay", "fixtures/access.log", "--reference", "fixtures/hosts.csv", "--format", "csv"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let engine = sums(&String::from_utf8(output.stdout).unwrap());
    for key in oracle.keys().chain(engine.keys()) {
        assert_eq!(engine.get(key), oracle.get(key), "{key:?}: the engine (left) and DuckDB (right)");
    }
}

fn assert_golden(query: &str) {
    let golden = read(&format!("fixtures/golden/{query}.csv"));
    let given = duckdb(query);
    for (line, (given, golden)) in given.lines().zip(golden.lines()).enumerate() {
        assert_eq!(given, golden, "golden/{query}.csv line {}: DuckDB (left), file (right)", line + 1);
    }
    assert_eq!(given, golden, "golden/{query}.csv: one has more lines than the other");
}

/// What `run.py duckdb` prints for `query` over the fixture; makes its virtual environment first where there is none.
fn duckdb(query: &str) -> String {
    let mut command = Command::new("python3");
    command.current_dir(root()).arg("sql-equivalents/run.py").args(["duckdb", "--query", query]);
    command.args(["--log", "fixtures/access.log", "--reference", "fixtures/hosts.csv"]);
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
