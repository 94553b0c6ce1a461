//! SIGTERM: the first saves and ends, the second ends. Kills nothing without a warning.

use std::{thread, time::Duration};

use logtally::clock::Clock;
use rustix::process::Signal;

use super::{
    home::Home,
    load::{Rotation, Writer, lines},
    oracle::{assert_exact, database, finish, metrics, published},
};

#[test]
fn a_pipeline_that_is_stopped_and_started_under_load_counts_every_line_once() {
    let home = Home::new();
    let writer = Writer::start(&home, Rotation::Rename, 1);
    for signal in [Signal::TERM, Signal::INT, Signal::TERM] {
        let before = metrics(&home).len();
        let mut process = home.start("run");
        home.until("something is published", || {
            assert_eq!(process.ended(), None, "ended by itself: {}", home.said());
            metrics(&home).len() > before
        });
        process.signal(signal);
        let status = process.wait();
        assert!(status.success(), "{status}: {}", home.said());
    }
    let truth = writer.stop();
    finish(&home);
    assert_exact(&home, &truth);
}

#[test]
fn what_is_in_open_windows_survives_a_stop() {
    const HOUR_MS: i64 = 3_600_000;
    // The longest that what follows may take: the window must not be over by then.
    const ROOM_MS: i64 = 2 * 60_000;
    let left = HOUR_MS - Clock::system().now().as_millis().rem_euclid(HOUR_MS);
    if left < ROOM_MS {
        thread::sleep(Duration::from_millis(left.unsigned_abs()));
    }
    let config = super::home::CONFIG.replace("window = \"1s\"", "window = \"1h\"");
    let home = Home::with(&config);
    home.log(&lines("10.0.1.7", 10));
    for _ in 0..2 {
        let process = home.start("run");
        home.until_up(&process, "analyze");
        process.stop();
        home.result("run --once");
        assert_eq!(published(&home, "Search"), 0, "the window is not over");
    }
    home.write("logtally.toml", super::home::CONFIG);
    finish(&home);
    assert_eq!(published(&home, "Search"), 10);
}

#[test]
fn a_second_sigterm_ends_a_process_that_waits_and_nothing_is_lost() {
    let home = Home::new();
    let process = home.start("run");
    home.log(&lines("10.0.1.7", 10));
    home.until("ten", || published(&home, "Search") == 10);

    let stranger = database(&home);
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    let more = lines("10.0.1.7", 10);
    home.log(&more);
    process.signal(Signal::TERM);
    home.until_said("a second signal exits at once");
    process.signal(Signal::TERM);
    let status = process.wait();
    assert_eq!(status.code(), Some(143), "{status}: {}", home.said());

    stranger.execute_batch("ROLLBACK").unwrap();
    drop(stranger);
    finish(&home);
    assert_eq!(published(&home, "Search"), 20);
    assert_exact(&home, &std::fs::read_to_string(home.path("access.log")).unwrap());
}
