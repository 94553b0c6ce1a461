//! What the system denies: descriptors, memory, file sizes, and room in a pipe. Damages nothing.

use std::fs;

use logtally::clock::Clock;

use super::{
    home::{CONFIG, Home},
    load::{line, lines},
    oracle::{assert_exact, finish, metrics, published, totals},
};

#[test]
fn many_logs_are_followed_with_few_descriptors() {
    let home = Home::with(&CONFIG.replace("\"access.log*\"", "\"access.log*\", \"many/*.log\""));
    fs::create_dir(home.path("many")).unwrap();
    let logs: Vec<_> = (0..200).map(|log| format!("many/{log}.log")).collect();
    let now = Clock::system().now().as_millis();
    let mut truth = String::new();
    let mut write = |round: u64| {
        for (log, path) in (0..).zip(&logs) {
            let text = line("10.0.1.7", now - 1_000 * log, 1_000 * round + log.unsigned_abs(), "200");
            home.append(path, &text);
            truth += &text;
        }
    };
    write(0);
    let process = home.limited("ulimit -n 90", "run");
    home.until("all of them are read", || published(&home, "Search") == 200);
    write(1);
    home.until("and read on", || published(&home, "Search") == 400);
    process.stop();
    assert!(!home.said().contains("Too many open files"), "{}", home.said());
    assert_exact(&home, &truth);
}

#[test]
fn with_no_descriptors_left_a_pipeline_ends_and_says_why() {
    let home = Home::new();
    home.log(&lines("10.0.1.7", 10));
    let refused = home.scripted("ulimit -n 14; $LOGTALLY run --once");
    assert_eq!(refused.code, Some(74), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("(ulimit -n)") || refused.stderr.contains("Too many open files"),
        "{}",
        refused.stderr
    );
    finish(&home);
    assert_eq!(published(&home, "Search"), 10);
}

#[test]
fn a_state_that_may_not_grow_ends_the_pipeline_and_nothing_is_lost() {
    let home = Home::new();
    home.log(&lines("10.0.1.7", 10));
    finish(&home);
    let more = lines("10.9.9.9", 20_000);
    home.log(&more);
    // 300 KiB a file; without the trap the signal would end the process.
    let refused = home.scripted("trap '' XFSZ; ulimit -f 300; $LOGTALLY run --once");
    assert_eq!(refused.code, Some(74), "{}", refused.stderr);
    let last = refused.stderr.lines().last().unwrap();
    assert!(last.starts_with("logtally: ") && last.contains("logtally.db: the file system fails"), "{last}");
    finish(&home);
    assert_exact(&home, &fs::read_to_string(home.path("access.log")).unwrap());
}

/// A log of so many windows that its rows fill any pipe.
fn long(home: &Home) -> String {
    let text: String = (0..3_000)
        .map(|number| line("10.0.1.7", 1_800_000_000_000 + 300_000 * number, number.unsigned_abs(), "200"))
        .collect();
    home.write("long.log", &text);
    home.result("replay long.log --format json")
}

#[test]
fn a_reader_that_is_slow_gets_everything_and_one_that_leaves_is_no_failure() {
    let home = Home::new();
    let rows = long(&home);
    assert!(rows.len() > 256 * 1024);
    for (script, expected) in [
        ("$LOGTALLY replay long.log --format json | (sleep 1; cat)", rows.as_str()),
        ("$LOGTALLY replay long.log --format json | head -1", rows.lines().next().unwrap()),
    ] {
        let ended = home.scripted(&format!("set -o pipefail; {script}"));
        assert_eq!(ended.code, Some(0), "{script}: {}", ended.stderr);
        assert_eq!(ended.stdout.trim_end(), expected.trim_end(), "{script}");
        assert!(!ended.stderr.contains("logtally: "), "{script}: {}", ended.stderr);
    }
}

#[test]
fn hostile_lines_are_counted_within_little_memory() {
    const HOSTS: u64 = 200_000;
    let home = Home::new();
    let now = Clock::system().now().as_millis();
    let mut truth = String::new();
    for number in 0..HOSTS {
        // Each host is another one, over a thousand windows and more.
        let host = format!("h{number}.{}.example.net", "x".repeat(40));
        truth += &line(&host, now - 1_000 * i64::try_from(number % 5_000).unwrap(), number, "200");
        if number % 50_000 == 0 {
            // Beyond what a line may have; some of it looks like more fields.
            truth += &"\\\"[ ".repeat(500_000);
            truth += "\n";
        }
    }
    home.log(&truth);
    let limit = "ulimit -v 1000000";
    let ended = home.scripted(&format!("{limit}; $LOGTALLY run --once"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    finish(&home);
    assert_exact(&home, &truth);
    assert_eq!(totals(&metrics(&home)).get("Unknown"), Some(&HOSTS));
    let ended = home.scripted(&format!("{limit}; $LOGTALLY replay access.log --format csv > /dev/null"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
