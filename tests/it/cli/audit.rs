//! Books that do not balance: one number of the state is changed, and audit names the equation and the difference.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use logtally::engine::{
    cut::{Cut, CutRef},
    provenance::Provenance,
    reason::Reason,
    time::Timestamp,
};
use rusqlite::Connection;
use serde_json::Value as Json;

use super::{Home, pipeline::configured};

/// A home whose log was read as far as `lines` say.
fn after(lines: &[&str]) -> Home {
    let home = configured();
    for line in lines {
        home.result(line);
    }
    home
}

pub(super) fn file(home: &Home) -> PathBuf {
    home.path().join("state/logtally.db")
}

fn sql(home: &Home, statement: &str) {
    let changed = Connection::open(file(home)).unwrap().execute(statement, []).unwrap();
    assert_eq!(changed, 1, "{statement}");
}

/// Changes the cut of the shard that read the most.
pub(super) fn change_cut(home: &Home, change: impl Fn(&mut Cut)) {
    let conn = Connection::open(file(home)).unwrap();
    let mut cuts = conn.prepare("SELECT shard, state FROM checkpoint WHERE stage = 'analyze'").unwrap();
    let cuts = cuts.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let cuts = cuts.map(|found: rusqlite::Result<(String, Vec<u8>)>| {
        let (shard, state) = found.unwrap();
        (shard, Cut::decode(&state).unwrap())
    });
    let (shard, mut cut) = cuts.max_by_key(|(_, cut)| cut.state.counters.read).unwrap();
    change(&mut cut);
    let Cut { epoch, ended, state, outbox } = cut;
    let state = CutRef { epoch, ended, state: &state, outbox: &outbox }.encode().unwrap();
    conn.execute("UPDATE checkpoint SET state = ?1 WHERE shard = ?2 AND stage = 'analyze'", (state, shard))
        .unwrap();
}

/// The equations that do not balance, with their differences, as `audit` says in its exit code, in JSON and in words.
pub(super) fn wrong(home: &Home) -> BTreeSet<String> {
    let output = home.command("audit --format json").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let wrong: Vec<Json> = rows.filter(|row| row["kind"] == "books" && row["balances"] == "NO").collect();
    assert_eq!(output.status.code(), Some(i32::from(!wrong.is_empty())), "{text}");

    let said = String::from_utf8(home.command("audit").output().unwrap().stdout).unwrap();
    let words = match wrong.len() {
        0 => "\nthe books balance\n".to_owned(),
        1 => "\n1 equation does not balance\n".to_owned(),
        many => format!("\n{many} equations do not balance\n"),
    };
    assert!(said.ends_with(&words), "{said}");
    assert_eq!(said.lines().filter(|line| line.contains("  NO  ")).count(), wrong.len().min(50), "{said}");
    wrong.iter().map(|row| format!("{}: {}", row["equation"].as_str().unwrap(), row["difference"])).collect()
}

pub(super) fn set<const N: usize>(entries: [&str; N]) -> BTreeSet<String> {
    entries.map(str::to_owned).into()
}

#[test]
fn a_file_of_which_a_byte_is_missing_is_named() {
    let home = after(&["produce --once"]);
    assert_eq!(wrong(&home), set([]), "what waits is known");
    let conn = Connection::open(file(&home)).unwrap();
    let (id, key): (i64, String) = conn
        .query_row("SELECT id, partition_key FROM record WHERE partition_key LIKE '%.1.0-%'", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    conn.execute("UPDATE record SET partition_key = ?1 WHERE id = ?2", (key.replace(".1.0-", ".1.1-"), id))
        .unwrap();
    drop(conn);
    assert_eq!(wrong(&home), set(["bytes sent: 1"]));
    let said = String::from_utf8(home.command("audit").output().unwrap().stdout).unwrap();
    let named = said.lines().find(|line| line.contains("  NO  ")).unwrap();
    assert!(named.contains("access.log (1)  NO  "), "{said}");
    assert!(
        named.ends_with("sent 742152 ≠ passed over 0 + analyzed 0 + waiting 742151 + not known by file 0")
    );
}

#[test]
fn a_file_of_which_more_was_analyzed_than_sent_is_named() {
    let home = after(&["run --once"]);
    change_cut(&home, |cut| {
        let (source, _) = cut.state.seen.taken().next().unwrap();
        let (start, acked) = (1 << 40, 0);
        cut.state.seen.take(&Provenance { source, start, end: start + 4, acked }, Timestamp::MAX);
    });
    assert_eq!(wrong(&home), set(["bytes sent: -4"]));
}

#[test]
fn every_equation_finds_the_number_that_was_changed() {
    let done = after(&["run --once"]);
    assert_eq!(wrong(&done), set([]));
    let change = |change: &dyn Fn(&Home)| {
        let home = Home::new();
        copy(done.path(), home.path());
        change(&home);
        wrong(&home)
    };
    let cut = |with: fn(&mut Cut)| change(&|home| change_cut(home, with));
    let update = |statement: &str| change(&|home| sql(home, statement));

    let counters = |cut: &mut Cut| cut.state.counters.read += 3;
    assert_eq!(cut(counters), set(["lines read: 3"]));
    assert_eq!(cut(|cut| cut.state.counters.add_malformed(Reason::Torn, 1)), set(["lines read: -1"]));
    assert_eq!(cut(|cut| cut.state.counters.duplicate += 1), set(["lines read: -1"]));
    let counted = set(["lines read: -1", "requests counted: 1", "counted by window: 1"]);
    assert_eq!(cut(|cut| cut.state.counters.counted += 1), counted);
    let published = set(["requests counted: -2", "requests published: 2", "published by window: 2"]);
    assert_eq!(cut(|cut| cut.state.published += 2), published);
    let before = set(["requests published: 2", "counted by window: 2", "published by window: 2"]);
    assert_eq!(cut(|cut| cut.state.published_before += 2), before);
    assert_eq!(cut(|cut| cut.state.counters.read_bytes -= 5), set(["bytes passed: 5"]));
    assert_eq!(cut(|cut| cut.state.counters.control_bytes += 5), set(["bytes passed: -5"]));
    // With bytes skipped or expired nobody knows of which file.
    assert_eq!(cut(|cut| cut.state.counters.skipped_bytes += 5), set(["bytes passed: -5"]));
    assert_eq!(cut(|cut| cut.state.counters.expired_bytes += 5), set(["bytes passed: -5"]));

    let input = "UPDATE shard SET last_seq = last_seq + 1 WHERE stream = 0 AND name LIKE '%0'";
    assert_eq!(update(input), set(["records kept: 1"]));
    let input = "UPDATE shard SET raw_bytes = raw_bytes + 7 WHERE stream = 0 AND name LIKE '%0'";
    assert_eq!(update(input), set(["bytes kept: 7", "bytes passed: 7"]));
    let output = "UPDATE shard SET last_seq = last_seq + 1 WHERE stream = 1";
    assert_eq!(update(output), set(["parcels kept: 1"]));
    let ledger = "DELETE FROM parcel WHERE id = (SELECT max(id) FROM parcel)";
    assert!(update(ledger).contains("parcels delivered: 1"));

    let metric = |name: &str, set: &str| {
        format!(
            "UPDATE metric SET {set} WHERE (series, ts) IN (SELECT series, ts FROM metric JOIN series ON series = id \
             WHERE name = '{name}' AND sum > 0 LIMIT 1)"
        )
    };
    let requests = update(&metric("RequestCount", "sum = sum - 1"));
    assert_eq!(requests, set(["delivered: 1.0", "requests published: 1", "published of a window: 1"]));
    let aged = change(&|home| {
        sql(home, &metric("RequestCount", "sum = sum - 1"));
        sql(home, "INSERT INTO meta(key, value) VALUES('aged_requests', '1')");
    });
    let not_this_one = set(["delivered: 1.0", "published of a window: 1"]);
    assert_eq!(aged, not_this_one, "what is past retention is no longer in the metrics");
    let more = update(&metric("ResponseCount", "sum = sum + 4"));
    assert_eq!(more, set(["delivered: -4.0"]));
}

/// Copies the configuration, the log and the state.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to.join("state")).unwrap();
    for name in ["logtally.toml", "access.log", "state/logtally.db"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn what_audit_says_as_json_has_stable_keys() {
    let home = after(&["run --once"]);
    let text = home.result("audit --format json");
    let mut keys: Vec<String> = Vec::new();
    for line in text.lines() {
        let row: serde_json::Map<String, Json> = serde_json::from_str(line).unwrap();
        let kind = row["kind"].as_str().unwrap().to_owned();
        let names = row.keys().filter(|key| *key != "kind").cloned().collect::<BTreeSet<_>>();
        let names = format!("{kind}: {}", names.into_iter().collect::<Vec<_>>().join(" "));
        if !keys.contains(&names) {
            keys.push(names);
        }
    }
    insta::assert_snapshot!(keys.join("\n"), @"
    files: analyzedBytes analyzedLines file generation node passedOverBytes sentBytes state unsentBytes waitingBytes
    input shards: appendedBytes behindSeconds completeTo counted duplicate expiredBytes expiredRecords late lines malformed open published readBytes shard skippedBytes sourcesForgotten unreadBytes windowsClosedEarly withoutProvenance
    malformed lines: lines reason sample
    applications: applicationName corrections inDoubt open outOfRange outboxRequests published refused requests waiting
    windows: applicationName corrections inDoubt open outOfRange outboxRequests published refused requests waiting windowStart
    window totals: corrections counted open published windowStart
    output shards: deliveredSecondsAgo expiredRecords parcels shard waiting
    books: about balances difference equation inDoubt left outOfRange refused right scope terms
    ");
    let of_window =
        |line: &&str| line.contains("\"scope\":\"series\"") && line.contains("RequestCount Billing");
    let first = text.lines().find(of_window).unwrap();
    insta::assert_snapshot!(first, @r#"{"kind":"books","about":"2026-10-24T23:05:00Z RequestCount Billing","scope":"series","equation":"delivered","left":7.0,"right":7.0,"difference":0.0,"balances":"yes","terms":"delivered 7 + in doubt and added 0 = in the metrics 7","inDoubt":0.0,"refused":0.0,"outOfRange":0.0}"#);
}

#[test]
fn a_hostile_file_name_acts_on_no_terminal() {
    let home = configured();
    fs::copy(home.path().join("access.log"), home.path().join("=1\u{1b}[31m\u{202e}.log")).unwrap();
    home.result("run --once");
    for format in ["table", "csv", "json"] {
        let said = home.result(&format!("audit --format {format}"));
        assert!(said.contains("[31m") && !said.contains(['\u{1b}', '\u{202e}']), "{said}");
    }
    assert_eq!(wrong(&home), set([]));
}

#[test]
fn what_was_not_sent_on_purpose_is_no_difference() {
    let home = configured();
    let file = home.path().join("logtally.toml");
    let text = fs::read_to_string(&file).unwrap().replace("[produce]\n", "[produce]\nstart = \"end\"\n");
    fs::write(&file, text).unwrap();
    home.result("produce --once");
    let log = home.path().join("access.log");
    let more = fs::read_to_string(&log).unwrap().lines().next().unwrap().to_owned() + "\n";
    let all = fs::read_to_string(&log).unwrap() + &more;
    fs::write(&log, all).unwrap();
    home.result("run --once");
    assert_eq!(wrong(&home), set([]));
    let text = home.result("status --format json");
    let row: Json = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let keys =
        ["sentBytes", "passedOverBytes", "analyzedBytes", "analyzedLines", "waitingBytes", "unsentBytes"];
    let bytes = more.len() as u64;
    assert_eq!(
        keys.map(|key| row[key].as_u64().unwrap()),
        [742_152 + bytes, 742_152, bytes, 1, 0, 0],
        "{row}"
    );
}

#[test]
fn a_stream_that_is_passed_over_leaves_no_difference() {
    let home = after(&["produce --once", "analyze --once --from NOW"]);
    assert_eq!(wrong(&home), set([]), "nobody knows of which file the bytes were that were skipped");
    let home = after(&["run --once", "analyze --once --from TRIM_HORIZON --recount"]);
    assert_eq!(wrong(&home), set([]), "each byte is analyzed once an epoch");
}

#[test]
fn what_expired_before_anything_was_read_is_told_and_not_passed_over() {
    // A cut of a shard that never held a record has no position.
    let home = after(&["analyze --once", "produce --once"]);
    let conn = Connection::open(file(&home)).unwrap();
    let gone: i64 =
        conn.query_row("SELECT sum(raw_bytes) FROM shard WHERE stream = 0", [], |row| row.get(0)).unwrap();
    conn.execute_batch(
        "DELETE FROM record WHERE shard IN (SELECT id FROM shard WHERE stream = 0);
         UPDATE shard SET trimmed_seq = last_seq, trimmed_bytes = raw_bytes, kept_bytes = 0 WHERE stream = 0;",
    )
    .unwrap();
    drop(conn);
    assert!(wrong(&home).iter().any(|entry| entry.starts_with("bytes passed: ")));
    let said = home.refusal("analyze --once");
    assert!(
        said.starts_with("65 ") && said.contains("no longer holds what came before anything of it"),
        "{said}"
    );
    assert!(
        said.contains("passed retention unread; --accept-loss goes on with the oldest record kept"),
        "{said}"
    );

    home.result("analyze --once --accept-loss");
    assert_eq!(wrong(&home), set([]));
    let text = home.result("status --format json");
    let rows = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let expired: i64 = rows.filter_map(|row| row["expiredBytes"].as_i64()).sum();
    assert_eq!(expired, gone);
    // It is lost once.
    home.result("analyze --once");
}

#[test]
fn requests_are_counted_by_application_wherever_they_are() {
    let home = configured();
    let sum = |kind: &str, application: &str, key: &str| -> u64 {
        let text = home.result("audit --format json");
        let rows = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
        let of = rows.filter(|row| row["kind"] == kind && row["applicationName"] == application);
        of.map(|row| row[key].as_u64().unwrap()).sum()
    };
    let file = home.path().join("logtally.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[analyze]\n", "[analyze]\ntime = \"arrival\"\nwindow = \"1d\"\n"))
        .unwrap();
    home.result("run --once");
    assert_eq!(wrong(&home), set([]));
    let places = ["requests", "published", "waiting", "open"];
    assert_eq!(places.map(|place| sum("applications", "Billing", place)), [597, 0, 0, 597]);
    assert!(home.result("status").contains("\nwindows\nWindow  "));
    fs::write(&file, text).unwrap();
    home.result("analyze --once");
    assert_eq!(wrong(&home), set([]));
    assert_eq!(places.map(|place| sum("windows", "Billing", place)), [597, 0, 597, 0]);
    home.result("run --once");
    assert_eq!(wrong(&home), set([]));
    assert_eq!(places.map(|place| sum("windows", "Billing", place)), [597, 597, 0, 0]);
    assert!(!home.result("status").contains("\nwindows\n"), "all are finished");
}

#[test]
fn state_of_another_version_is_refused_by_name() {
    let home = after(&["run --once"]);
    let conn = Connection::open(file(&home)).unwrap();
    conn.execute(
        "UPDATE checkpoint SET state = CAST(X'01' || substr(state, 2) AS BLOB) WHERE stage = 'analyze'",
        [],
    )
    .unwrap();
    insta::assert_snapshot!(["audit", "status"].map(|line| home.refusal(line)).concat(), @"
    65 logtally: shardId-000000000000: the checkpoint has format 1, this logtally knows 3: use the version that wrote it
    65 logtally: shardId-000000000000: the checkpoint has format 1, this logtally knows 3: use the version that wrote it
    ");
}
