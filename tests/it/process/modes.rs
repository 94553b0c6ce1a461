//! Where `analyze` starts, and `--once`. Sends no signal.

use super::{
    home::Home,
    load::lines,
    oracle::{assert_balanced, finish, metrics, published},
};

/// A home in which ten requests of Search were counted.
fn counted() -> Home {
    let home = Home::new();
    home.log(&lines("10.0.1.7", 10));
    finish(&home);
    assert_eq!(published(&home, "Search"), 10);
    home
}

#[test]
fn once_twice_adds_nothing() {
    let home = counted();
    let before = metrics(&home);
    home.result("run --once");
    assert_eq!(metrics(&home), before);
    home.result("analyze --once --from LAST_STOPPED_POINT");
    home.result("deliver --once");
    assert_eq!(metrics(&home), before);
    assert_balanced(&home);
}

#[test]
fn once_processes_what_was_compressed_while_nobody_looked() {
    let home = counted();
    home.log(&lines("10.0.1.7", 10));
    home.compress("access.log", "access.log.1.gz");
    home.log(&lines("10.0.1.7", 5));
    finish(&home);
    assert_eq!(published(&home, "Search"), 25);
    assert_balanced(&home);
}

#[test]
fn counting_again_is_refused_with_the_windows_and_done_when_asked_for() {
    let home = counted();
    let before = metrics(&home);
    let refused = home.ended("analyze --once --from TRIM_HORIZON");
    assert_eq!(refused.code, Some(64), "{}", refused.stderr);
    let said = refused.stderr.lines().find(|line| line.starts_with("logtally: ")).unwrap();
    let time = regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z").unwrap();
    insta::assert_snapshot!(time.replace_all(said, "TIME"), @"logtally: TRIM_HORIZON would count lines of the windows from TIME to TIME a second time: pass --recount to do so, or start with --from LAST_STOPPED_POINT");
    home.result("deliver --once");
    assert_eq!(metrics(&home), before, "what is refused changes nothing");

    home.result("analyze --once --from TRIM_HORIZON --recount");
    home.result("deliver --once");
    let doubled = before.into_iter().map(|(key, requests)| (key, 2 * requests)).collect();
    assert_eq!(metrics(&home), doubled);
    assert_balanced(&home);
    finish(&home);
    assert_eq!(metrics(&home), doubled, "and from now on once again");
}

#[test]
fn now_passes_over_what_is_there_and_the_last_point_goes_on_from_it() {
    let home = counted();
    home.log(&lines("10.0.1.7", 100));
    home.result("produce --once");
    home.result("run --once --from NOW");
    finish(&home);
    assert_eq!(published(&home, "Search"), 10, "the hundred are passed over");
    assert_balanced(&home);

    home.log(&lines("10.0.1.7", 5));
    finish(&home);
    assert_eq!(published(&home, "Search"), 15);
    assert_balanced(&home);
}

#[test]
fn a_first_start_at_now_counts_what_comes_later_only() {
    let home = Home::new();
    home.log(&lines("10.0.1.7", 100));
    home.result("produce --once");
    home.result("analyze --once --from NOW");
    home.log(&lines("10.0.1.7", 5));
    finish(&home);
    assert_eq!(published(&home, "Search"), 5);
    assert_balanced(&home);
}
