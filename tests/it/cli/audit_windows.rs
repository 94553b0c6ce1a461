//! Books of windows: what was counted in each is kept a second time, and held against tallies, rows and metrics. Kills
//! nothing.

use std::{collections::BTreeSet, fs};

use logtally::engine::{
    journal::APART,
    state::State,
    tally::{Cell, Key},
    time::Timestamp,
};
use rusqlite::Connection;
use serde_json::Value as Json;

use super::{
    Home,
    audit::{change_cut, copy, file, set, wrong},
    pipeline::configured,
};

/// A home whose windows are counted by `analyze`, a key and its value.
fn counted_by(analyze: &str) -> Home {
    let home = configured();
    let file = home.path().join("logtally.toml");
    let text = fs::read_to_string(&file).unwrap().replace("[analyze]\n", &format!("[analyze]\n{analyze}\n"));
    fs::write(&file, text).unwrap();
    home.result("run --once");
    home
}

/// What differs of the books of each window, and of which.
fn windows(home: &Home) -> BTreeSet<String> {
    let text = String::from_utf8(home.command("audit --format json").output().unwrap().stdout).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let wrong = rows.filter(|row| row["scope"] == "window" && row["balances"] == "NO");
    wrong
        .map(|row| format!("{}: {}", row["about"].as_str().unwrap(), row["terms"].as_str().unwrap()))
        .collect()
}

#[test]
fn each_window_is_held_against_its_second_count_and_the_metrics() {
    let done = counted_by("window = \"1m\"");
    let cut = |with: &dyn Fn(&mut State)| {
        let home = Home::new();
        copy(done.path(), home.path());
        change_cut(&home, |cut| with(&mut cut.state));
        (wrong(&home), windows(&home))
    };
    let page = |state: &State| {
        let (start, page) = state.journal.pages().next_back().unwrap();
        (start, page.posted.counted)
    };
    assert_eq!(wrong(&done), set([]));
    let text = done.result("audit --format json");
    let rows = |of: &str| text.lines().filter(|line| line.contains(of)).count();
    let followed = rows("\"equation\":\"published of a window\"");
    assert!(followed >= APART, "{followed} are followed into the metrics");
    let counted = rows("\"equation\":\"counted in a window\"");
    assert_eq!((counted, rows("\"about\":\"older windows\"")), (followed + 1, 1));

    let (equations, of) = cut(&|state| {
        let (start, _) = page(state);
        state.journal.count(start, 3, Timestamp::MIN);
    });
    assert_eq!(equations, set(["counted by window: -3", "counted in a window: 3"]));
    assert_eq!(of.len(), 1, "{of:?}");
    let (equations, of) = cut(&|state| {
        let (start, _) = page(state);
        state.journal.publish(start, 2);
    });
    let published = ["published by window: -2", "counted in a window: -2", "published of a window: 2"];
    assert_eq!((equations, of.len()), (set(published), 2));
    // Rows that may be past the metrics' retention are not followed there one by one.
    let (equations, _) = cut(&|state| {
        (state.counters.read, state.counters.counted) = (state.counters.read + 4, state.counters.counted + 4);
        state.published += 4;
        state.journal.count(Timestamp::from_millis(0), 4, Timestamp::MIN);
        state.journal.publish(Timestamp::from_millis(0), 4);
    });
    assert_eq!(equations, set(["requests published: 4"]));
    // What was joined is held against itself.
    let (equations, of) = cut(&|state| {
        state.journal.count(Timestamp::from_millis(0), 4, Timestamp::MIN);
        state.journal.join(|_| false);
    });
    assert_eq!(equations, set(["counted by window: -4", "counted in a window: 4"]));
    assert!(of.iter().all(|line| line.starts_with("older windows: counted ")), "{of:?}");
}

#[test]
fn a_late_line_of_a_window_that_was_joined_leaves_no_difference() {
    let home = counted_by("window = \"1m\"");
    let log = home.path().join("access.log");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, format!("{text}{}\n", text.lines().next().unwrap())).unwrap();
    home.result("run --once");
    assert_eq!(wrong(&home), set([]));
    // One that came minutes later is kept apart again, for what came late; its rows are in the metrics with all others.
    let conn = Connection::open(file(&home)).unwrap();
    let oldest =
        "SELECT min(ts) FROM metric JOIN series ON series = id WHERE name = 'RequestCount' AND sum > 0";
    let oldest = Timestamp::from_millis(conn.query_row(oldest, [], |row| row.get(0)).unwrap());
    conn.execute("INSERT INTO meta(key, value) VALUES('aged_requests', '1')", []).unwrap();
    drop(conn);
    change_cut(&home, |cut| {
        let state = &mut cut.state;
        (state.counters.read, state.counters.counted) = (state.counters.read + 1, state.counters.counted + 1);
        state.published += 1;
        state.journal.count(oldest, 1, state.complete_to.plus_millis(300_000));
        state.journal.publish(oldest, 1);
    });
    assert_eq!(wrong(&home), set([]));
    let said = home.result("audit --format json");
    let of = |equation: &str| {
        let about = format!("\"about\":\"{oldest}\",\"scope\":\"window\",\"equation\":\"{equation}\"");
        said.lines().filter(|line| line.contains(&about)).count()
    };
    assert_eq!((of("counted in a window"), of("published of a window")), (1, 0));
}

#[test]
fn a_window_whose_tally_is_lost_is_named() {
    let home = counted_by("time = \"arrival\"\nwindow = \"1d\"");
    assert_eq!(wrong(&home), set([]));
    let said = home.result("status");
    assert!(said.contains("\nwindows\nWindow                Counted  Requests"), "{said}");
    change_cut(&home, |cut| drop(cut.state.open.take_all()));
    let lost = wrong(&home);
    let lost: Vec<&str> = lost.iter().map(|entry| entry.split(':').next().unwrap()).collect();
    assert_eq!(lost, ["counted in a window", "requests counted"]);
    let of = windows(&home);
    assert!(of.iter().all(|line| line.contains(" + in open windows ") && line.contains(" ≠ ")), "{of:?}");
    // A tally of which the journal knows nothing.
    change_cut(&home, |cut| {
        let start = Timestamp::from_millis(0);
        let key = Key { owner: 0, response: 200 };
        cut.state.late.starting(start).cells.insert(key, Cell { count: 7, bytes: 0 });
    });
    let of = windows(&home);
    let foreign = "1970-01-01T00:00:00Z: counted 0 ≠ published 0 + in open windows 0 + in corrections 7";
    assert!(of.contains(foreign), "{of:?}");
}

#[test]
fn a_state_of_the_version_before_goes_on_and_its_windows_are_known_together() {
    let home = counted_by("window = \"1m\"");
    let conn = Connection::open(file(&home)).unwrap();
    conn.execute(
        "UPDATE checkpoint SET state = CAST(X'02' || substr(state, 2) AS BLOB) WHERE stage = 'analyze'",
        [],
    )
    .unwrap();
    drop(conn);
    assert_eq!(wrong(&home), set([]));
    let of_window = |text: &str, name: &str| {
        let rows = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
        let rows = rows.filter(|row| row["equation"] == name);
        rows.map(|row| row["about"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = home.result("audit --format json");
    assert_eq!(of_window(&before, "counted in a window"), ["older windows"]);
    // A window behind them is known to the last row.
    let log = home.path().join("access.log");
    let text = fs::read_to_string(&log).unwrap();
    let line = text
        .lines()
        .next()
        .unwrap()
        .replace("24/Oct/2026", "28/Oct/2026")
        .replace("25/Oct/2026", "28/Oct/2026");
    fs::write(&log, format!("{text}{line}\n")).unwrap();
    home.result("run --once");
    assert_eq!(wrong(&home), set([]));
    let after = home.result("audit --format json");
    assert_eq!(of_window(&after, "counted in a window").len(), 2);
    assert_eq!(of_window(&after, "published of a window").len(), 1);
}
