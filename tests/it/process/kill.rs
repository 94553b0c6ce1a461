//! Killed at random moments under load and rotation, and every line is counted once. Stops nothing gracefully.
//!
//! `LOGTALLY_KILLS=500 cargo test --test it process::kill -- --test-threads 1` kills more often than the suite does;
//! `LOGTALLY_SEED` repeats the choices of a run, though not the machine's.

use std::{str::FromStr, time::Duration};

use super::{
    home::{Home, Running},
    load::{Random, Rotation, Writer},
    oracle::{assert_exact, finish},
};

/// Kills in a run of the suite.
const KILLS: u64 = 12;

#[expect(clippy::disallowed_methods, reason = "how long to go on is said to the test, not to the product")]
pub(super) fn asked<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is \"{text}\"")))
}

fn seed() -> u64 {
    asked("LOGTALLY_SEED").unwrap_or_else(|| getrandom::u64().unwrap())
}

/// How long a process lives: some die while they start, some have a while.
fn life(random: &mut Random) -> Duration {
    let most = [60, 600, 1_200][usize::try_from(random.below(3)).unwrap()];
    Duration::from_millis(random.below(most))
}

/// How long nobody takes its place: now and then long enough for a log to be rotated twice and compressed.
fn absence(random: &mut Random) -> Duration {
    let life = life(random);
    if random.below(4) == 0 { life } else { life / 8 }
}

/// Kills one of the processes that these command lines start, again and again, while a writer writes.
fn survive(commands: &[&str], rotation: Rotation, seed: u64) {
    let home = Home::new();
    let mut random = Random(seed);
    let writer = Writer::start(&home, rotation, random.next());
    let start = |command: &&str| home.start(command);
    let mut processes: Vec<Running> = commands.iter().map(start).collect();
    for _ in 0..asked("LOGTALLY_KILLS").unwrap_or(KILLS) {
        // Not to wait for anything: the moment is the test.
        std::thread::sleep(life(&mut random));
        let victim = usize::try_from(random.below(commands.len() as u64)).unwrap();
        processes.remove(victim).kill();
        std::thread::sleep(absence(&mut random));
        processes.insert(victim, home.start(commands[victim]));
    }
    let truth = writer.stop();
    processes.into_iter().for_each(Running::kill);
    finish(&home);
    assert_exact(&home, &truth);
}

#[test]
fn a_pipeline_that_is_killed_counts_every_line_once_when_logs_are_renamed_and_compressed() {
    let seed = seed();
    println!("LOGTALLY_SEED={seed}");
    survive(&["run"], Rotation::Rename, seed);
}

#[test]
fn a_pipeline_that_is_killed_counts_every_line_once_when_logs_are_copied_and_emptied() {
    let seed = seed();
    println!("LOGTALLY_SEED={seed}");
    survive(&["run"], Rotation::CopyTruncate, seed);
}

#[test]
fn three_stages_that_are_killed_one_by_one_count_every_line_once() {
    let seed = seed();
    println!("LOGTALLY_SEED={seed}");
    survive(&["produce", "analyze", "deliver"], Rotation::Rename, seed);
}
