//! The state's file locked, damaged or taken away while it is in use. Kills nothing.

use std::{
    fs::{self, File},
    io::Write,
};

use super::{
    home::Home,
    load::{Rotation, Writer, lines},
    oracle::{assert_balanced, assert_exact, database, finish, published},
};

const STATE: &str = "state/logtally.db";
/// What was written lately stands here: a copy of the one without the other is none.
const WAL: &str = "state/logtally.db-wal";

/// The last thing that a command said, without the directory that it runs in.
fn last(home: &Home, said: &str) -> String {
    let directory = fs::canonicalize(home.path(".")).unwrap();
    said.lines().last().unwrap_or_default().replace(directory.to_str().unwrap(), "DIR")
}

/// How many lines say this.
fn times(home: &Home, text: &str) -> usize {
    home.said().lines().filter(|line| line.contains(text)).count()
}

#[test]
fn a_state_that_another_process_locks_is_waited_for_and_said_so() {
    const WAITING: &str = "state/logtally.db: another process keeps it locked; waiting for it";
    let home = Home::new();
    let writer = Writer::start(&home, Rotation::Rename, 3);
    let mut process = home.start("run");
    home.until("something is published", || published(&home, "Billing") > 0);
    let stranger = database(&home);
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    home.until_said(WAITING);
    assert!(process.runs());
    // Long before it gives up and tries again.
    let first = home.said().lines().find(|line| line.contains(WAITING)).unwrap().to_owned();
    assert!(!first.contains("trying again"), "{first}");
    // Each connection that writes says so once in 30 s.
    assert!(times(&home, WAITING) <= 4, "{}", home.said());
    stranger.execute_batch("ROLLBACK").unwrap();
    drop(stranger);
    let before = published(&home, "Billing");
    home.until("it goes on", || published(&home, "Billing") > before);
    let truth = writer.stop();
    process.stop();
    finish(&home);
    assert_exact(&home, &truth);
}

/// A home in which a hundred requests were counted, and a copy of its state.
fn counted() -> Home {
    let home = Home::new();
    home.log(&lines("10.0.1.7", 100));
    finish(&home);
    fs::copy(home.path(STATE), home.path("copy.db")).unwrap();
    // It is gone where the process closed the file in order.
    if home.path(WAL).exists() {
        fs::copy(home.path(WAL), home.path("copy.db-wal")).unwrap();
    }
    home
}

/// Runs a pipeline until `harm`, which must end it with 74, and gives what it said at last. With the copy of the state
/// in its place again, everything is counted once.
fn survive(harm: impl Fn(&Home)) -> String {
    let home = counted();
    let process = home.start("run");
    home.until_up(&process, "deliver");
    harm(&home);
    home.log(&lines("10.0.1.7", 50));
    let ended = process.wait();
    assert_eq!(ended.code(), Some(74), "{}", home.said());
    let said = last(&home, &home.said());
    for name in [WAL, "state/logtally.db-shm"] {
        drop(fs::remove_file(home.path(name)));
    }
    fs::copy(home.path("copy.db"), home.path(STATE)).unwrap();
    if home.path("copy.db-wal").exists() {
        fs::copy(home.path("copy.db-wal"), home.path(WAL)).unwrap();
    }
    home.log(&lines("10.0.1.7", 7));
    finish(&home);
    assert_eq!(published(&home, "Search"), 157);
    assert_balanced(&home);
    said
}

fn set_length(home: &Home, length: u64) {
    File::options().write(true).open(home.path(STATE)).unwrap().set_len(length).unwrap();
}

#[test]
fn a_state_that_is_damaged_while_it_is_in_use_ends_the_pipeline_and_a_copy_of_it_goes_on() {
    let cut = |home: &Home| set_length(home, 16 * 1024);
    let empty = |home: &Home| set_length(home, 0);
    let spoil = |home: &Home| {
        let mut file = File::options().write(true).open(home.path(STATE)).unwrap();
        let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
        file.write_all(&vec![0xa5; length]).unwrap();
    };
    for said in [survive(cut), survive(empty), survive(spoil)] {
        assert_known(&said);
    }
}

/// Which page is looked at first, and whether one is written before, decides which of them it is.
fn assert_known(said: &str) {
    let damaged = "logtally: DIR/state/logtally.db is damaged: stop logtally and restore a copy of the file with its \
                   -wal, or move both and the -shm away to begin anew";
    let no_database = "logtally: DIR/state/logtally.db is no database of logtally: use another state_dir, or move the \
                       file away";
    let replaced = "logtally: DIR/state/logtally.db was replaced, removed or emptied while it was in use: put it back \
                    with its -wal, or begin anew without both";
    assert!([damaged, no_database, replaced].iter().any(|known| said.starts_with(known)), "{said}");
}

#[test]
fn a_state_that_is_taken_away_while_it_is_in_use_ends_the_pipeline() {
    let remove = |home: &Home| fs::remove_file(home.path(STATE)).unwrap();
    let replace = |home: &Home| {
        let other = counted();
        fs::rename(other.path(STATE), home.path("other.db")).unwrap();
        fs::rename(home.path("other.db"), home.path(STATE)).unwrap();
    };
    for said in [survive(remove), survive(replace)] {
        assert_known(&said);
    }
}
