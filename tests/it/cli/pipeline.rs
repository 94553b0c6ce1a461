//! The pipeline's commands as a user meets them, from nothing to books that balance. Kills nothing.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use rustix::process::{Pid, Signal, kill_process};

use super::Home;

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/hosts.csv");

/// A home with a log and a configuration that names it.
pub(super) fn configured() -> Home {
    let home = Home::new();
    let log = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/access.log");
    fs::copy(log, home.path().join("access.log")).unwrap();
    let configuration = format!(
        "state_dir = \"state\"\n[produce]\nfiles = [\"*.log\"]\n[analyze]\nreference = \"{REFERENCE}\"\n\
         [[alarm]]\nname = \"unknown\"\nrule = \"Unknown > 100\"\n"
    );
    fs::write(home.path().join("logtally.toml"), configuration).unwrap();
    home
}

#[test]
fn before_anything_exists_every_question_is_answered_so() {
    let home = Home::new();
    let lines =
        ["report", "status", "audit"].map(|command| home.refusal(&format!("{command} --state-dir s")));
    insta::assert_snapshot!(lines.concat(), @"
    74 logtally: s/logtally.db does not exist: no stage has run with this state_dir yet
    74 logtally: s/logtally.db does not exist: no stage has run with this state_dir yet
    74 logtally: s/logtally.db does not exist: no stage has run with this state_dir yet
    ");
    let lines =
        ["produce", "run --once", "produce - access.log", "reference list"].map(|line| home.refusal(line));
    insta::assert_snapshot!(lines.concat(), @"
    78 logtally: nothing to produce: name files, or set files in [produce] of logtally.toml
    78 logtally: nothing to produce: name files, or set files in [produce] of logtally.toml
    64 logtally: standard input and files cannot be produced together
    78 logtally: no reference data: name the file with --reference, or set reference in [analyze]
    ");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "a refusal creates nothing");
}

#[test]
fn compressed_logs_alone_are_read_at_once() {
    let plain = configured();
    let packed = configured();
    let log = fs::read(packed.path().join("access.log")).unwrap();
    fs::remove_file(packed.path().join("access.log")).unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&log).unwrap();
    fs::write(packed.path().join("old.log"), gzip.finish().unwrap()).unwrap();
    let counted = |home: &Home| {
        home.result("run --once");
        let entries = home.result("audit --format json");
        let entries = entries.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let shards = entries.filter(|entry| entry["kind"] == "input shards");
        shards.map(|shard| shard["lines"].as_u64().unwrap()).sum::<u64>()
    };
    let lines = counted(&plain);
    assert!(lines > 0);
    assert_eq!(counted(&packed), lines);
}

#[test]
fn a_state_file_that_is_none_is_refused_by_all_and_found_by_check() {
    let home = Home::new();
    fs::create_dir(home.path().join("s")).unwrap();
    fs::write(home.path().join("s/logtally.db"), "garbage").unwrap();
    fs::write(home.path().join("x"), "").unwrap();
    for line in ["status", "audit", "report", "analyze --once", "deliver --once", "produce x --once"] {
        let said = home.refusal(&format!("{line} --state-dir s"));
        assert!(said.starts_with("74 logtally: s/logtally.db is no database of logtally"), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
    }
    let checked = home.command("check --state-dir s").output().unwrap();
    assert_eq!(checked.status.code(), Some(78));
    assert!(String::from_utf8(checked.stdout).unwrap().contains("FAILED  s/logtally.db is no database"));
    assert_eq!(fs::read(home.path().join("s/logtally.db")).unwrap(), b"garbage", "and it is left alone");
}

#[test]
fn check_names_each_pattern_that_finds_nothing() {
    let home = Home::new();
    fs::write(home.path().join("access.log"), "").unwrap();
    fs::write(
        home.path().join("logtally.toml"),
        "state_dir = \"s\"\n[produce]\nfiles = [\"a*.log\", \"b*.log\"]\n",
    )
    .unwrap();
    let checked = home.result("check --format csv");
    assert!(
        checked.contains("files,ok,b*.log: nothing there now") && !checked.contains("a*.log"),
        "{checked}"
    );
}

#[test]
fn from_a_log_to_a_report_whose_books_balance() {
    let home = configured();
    let checked = home.result("check --format csv");
    assert!(!checked.contains("FAILED"), "{checked}");
    home.result("run --once");
    home.result("run --once");

    let audit = home.result("audit");
    assert!(audit.contains("the books balance") && !audit.contains("NO"), "{audit}");
    let status = home.result("status --format json");
    for line in status.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(row["kind"].is_string(), "{line}");
    }

    let report = home.result("report --since 2026-10-24T00:00:00Z --until 2026-10-26T00:00:00Z --format csv");
    let rows: Vec<&str> = report.lines().collect();
    insta::assert_snapshot!(rows[..3].join("\n"), @"
    applicationName,contact,requests,share,errorShare,topHosts
    Storefront,storefront@example.com,1238,0.24819566960705694,0.30290791599353795,
    Unknown,,807,0.16178829190056135,0.40024783147459725,\"crawl-66.bots.example.net 182, 203.0.113.1 107, 203.0.113.2 71, 203.0.113.40 40, 203.0.113.15 33, 203.0.113.9 32, 2001:db8:bad::1 24, 198.51.100.210 20, 203.0.113.7 20, 198.51.100.244 17\"
    ");
    let mut reader = csv::Reader::from_reader(report.as_bytes());
    let sum: u64 = reader.records().map(|row| row.unwrap()[2].parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 4_988, "as a replay counts them; no row is there twice");
}

#[test]
fn a_file_that_is_missing_is_told_where_nobody_waits_for_it() {
    let home = Home::new();
    let lines = ["produce none.log --once", "produce none*.log --once"];
    let lines = lines.map(|line| home.refusal(&format!("{line} --state-dir s"))).concat();
    let said: String =
        lines.lines().map(|line| line.split("Z  ").last().unwrap().to_owned() + "\n").collect();
    insta::assert_snapshot!(said, @"
    74 logtally: none.log does not exist: name a file that does, or wait for it without --once
    WARN logtally::produce::source: none*.log: matches no file yet: if that stays so, check the pattern
    ");
    fs::write(home.path().join("logtally.toml"), "state_dir = \"s\"\n[produce]\nfiles = [\"none.log\"]\n")
        .unwrap();
    assert_eq!(home.refusal("run --once"), lines.lines().next().unwrap().to_owned() + "\n");
    fs::remove_dir_all(home.path().join("s")).unwrap();
    home.refusal("run --once");
    assert!(!home.path().join("s").exists(), "a refusal creates nothing");
}

#[test]
fn a_report_of_nothing_says_where_there_is_something() {
    let home = configured();
    home.result("run --once");
    let lines = [
        "report",
        "report --since 3650d --application Nobody",
        "report --since 2026-10-25T00:00:00Z --until 2026-10-24T00:00:00Z",
    ];
    insta::assert_snapshot!(lines.map(|line| home.refusal(line)).concat(), @r#"
    0 no requests in that time; there are some from 2026-10-24T23:05:00Z to 2026-10-25T01:25:00Z: --since 2026-10-24T23:05:00Z
    0 no requests of "Nobody" in state/logtally.db yet
    64 logtally: nothing lies between --since 2026-10-25T00:00:00Z and --until 2026-10-24T00:00:00Z: --until is the later one
    "#);
}

/// A process that ends with this.
struct Running(Child);

impl Running {
    /// Starts it with a pipe for what it says.
    fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already, which is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_stage_that_already_runs_is_named() {
    let home = configured();
    let mut first = Running::start(home.command("produce"));
    // It says what it reads once it holds its place.
    let mut line = String::new();
    let mut said_first = BufReader::new(first.0.stderr.take().unwrap());
    said_first.read_line(&mut line).unwrap();
    assert!(line.contains("reading from byte 0"), "{line}");
    let said = home.refusal("run --once");
    let pid = first.0.id().to_string();
    drop(first);
    // The other stages may have begun by then, and said so.
    assert!(said.starts_with("69 ") && said.contains("logtally: produce is already running on"), "{said}");
    assert!(said.contains(&format!("(process {pid})")) && said.contains("use another state_dir"), "{said}");
}

#[test]
fn a_bad_configuration_at_sighup_is_told_and_not_taken() {
    let home = configured();
    let mut running = Running::start(home.command("run"));
    let pid = Pid::from_child(&running.0);
    let mut lines = BufReader::new(running.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("reading from byte 0"));
    let file = home.path().join("logtally.toml");
    let good = fs::read_to_string(&file).unwrap();
    for (bad, why) in [
        (good.replace("[analyze]", "[analyze]\nformat = \"%Z\""), "log format \"%Z\", byte 1"),
        (good.replace("Unknown >", "Unknown"), "alarm \"unknown\": alarm rule"),
        (good.replace("hosts.csv", "none.csv"), "none.csv does not exist"),
        (good.replace("[analyze]", "[analyse]"), "did you mean"),
    ] {
        fs::write(&file, bad).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
        let said = lines.find(|line| line.contains("ERROR")).unwrap();
        assert!(said.contains("keeping the last good configuration: ") && said.contains(why), "{said}");
    }
    fs::write(&file, good).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(running.0.wait().unwrap().success());
    assert!(home.result("audit").contains("the books balance"));
}

#[test]
fn alarms_are_told_by_a_replay_and_by_its_exit_code() {
    let home = configured();
    let replay = |rules: &[&str], more: &[&str]| {
        let mut command = home.command("replay access.log");
        for rule in rules {
            command.args(["--alarm", rule]);
        }
        command.args(more).output().unwrap()
    };
    let fired = replay(&["Unknown > 100", "Nobody > 1"], &["--fail-on-alarm"]);
    assert_eq!(fired.status.code(), Some(1));
    let text = String::from_utf8(fired.stdout).unwrap();
    insta::assert_snapshot!(text[text.find("\nalarm").unwrap()..].trim(), @"
    alarm Unknown > 100: would have fired once
      Unknown from 2026-10-25T00:55:00Z to 2026-10-25T01:00:00Z (5 min, peak 151) because of crawl-66.bots.example.net (126), build_agent_8.ci.example.org (9), 203.0.113.1 (5), 203.0.113.7 (4), 203.0.113.200 (2)

    alarm Nobody > 1: would not have fired
    ");
    assert_eq!(replay(&["Unknown > 100"], &[]).status.code(), Some(0));
    assert_eq!(replay(&["Unknown > 1000"], &["--fail-on-alarm"]).status.code(), Some(0));
    let json = String::from_utf8(replay(&["Unknown > 100"], &["--format", "json"]).stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!((&last["kind"], &last["episode"]["peak"]), (&"alarm".into(), &151.into()));
}

#[test]
fn more_episodes_than_are_listed_are_counted() {
    let home = Home::new();
    let start = 1_795_236_900;
    let line = |number: i64| {
        let stamp = chrono::DateTime::from_timestamp(start + 10 * number, 0).unwrap();
        format!("10.0.0.9 - - [{}] \"GET / HTTP/1.1\" 200 5\n", stamp.format("%d/%b/%Y:%H:%M:%S +0000"))
    };
    fs::write(home.path().join("access.log"), (0..10_002).map(line).collect::<String>()).unwrap();
    let mut replay = home.command("replay access.log --log-format common --window 1s --format csv --alarm");
    let output = replay.arg("Unknown > 0").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("alarm Unknown > 0: would have fired 2 times more, which are not listed"),
        "{said:.400}"
    );
}
