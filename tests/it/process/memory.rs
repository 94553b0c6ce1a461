//! What a pipeline takes of memory while its logs grow and rotate: no more later than before. Kills nothing.
//!
//! `LOGTALLY_SOAK=180 cargo test --test it process::memory -- --nocapture` goes on for three minutes, and prints what it
//! took in each third of them.

use std::{fs, time::Duration};

use super::{
    home::{Home, Running},
    kill::asked,
    load::{Rotation, Writer},
    oracle::{assert_exact, finish},
};

/// How many seconds a run of the suite lasts.
const SOAK: u64 = 12;
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What the last third may take more than the one before, in KiB: the cache of the state's pages fills in minutes
/// (`backend::embedded::schema::WRITER_CACHE_KIB`).
const SLACK: u64 = 16 * 1024;

/// KiB of its own that a process has in memory, as Linux says it: without the pages of files, which are the system's.
pub(super) fn resident(process: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn memory_does_not_grow_under_load_and_rotation() {
    let home = Home::new();
    let writer = Writer::start(&home, Rotation::Rename, 1);
    let mut process = home.start("run");
    home.until_up(&process, "analyze");
    let looks = asked("LOGTALLY_SOAK").unwrap_or(SOAK) * 10;
    let mut samples = Vec::new();
    for _ in 0..looks {
        std::thread::sleep(LOOK_EVERY);
        assert!(process.runs(), "{}", home.said());
        samples.push(resident(&process));
    }
    let truth = writer.stop();
    process.stop();
    let thirds: Vec<u64> =
        samples.chunks(samples.len().div_ceil(3)).map(|third| *third.iter().max().unwrap()).collect();
    println!("{} lines; KiB at most in each third: {thirds:?}", truth.lines().count());
    assert!(thirds[2] <= thirds[1] + SLACK, "KiB at most in each third: {thirds:?}");
    finish(&home);
    assert_exact(&home, &truth);
}
