//! Seeds of the simulation: the real stages over services in memory, with faults everywhere, against a replay. What a
//! seed does is in `examples/simulate`, which runs as many as one likes.

#[path = "../../examples/simulate/sim/mod.rs"]
mod sim;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use sim::{Kind, Outcome};

/// Seeds of each backend's semantics.
const SEEDS: u64 = 1_000;
/// Simulations at once.
const THREADS: usize = 2;
/// Seeds that once found a bug, with its name.
const FOUND: [(&str, Kind, u64); 6] = [
    ("what was written just before a drain was not sent by it", Kind::Embedded, 0),
    ("a reload was missed once nobody could reload any more", Kind::Aws, 13),
    ("a drain did not wait for compressed logs to rest", Kind::Aws, 476),
    ("at the first start a parent that is listed was taken for one that left", Kind::Embedded, 249),
    ("the same, on AWS", Kind::Aws, 71),
    ("a tailer went round and round while all that it unpacked was out of sight", Kind::Aws, 380),
];
/// Seeds with a fault that the others hardly have.
const RARE: [(Kind, u64); 1] = [(Kind::Aws, 1_391)];
/// Each kind of fault, and how often all seeds together must have it at least: else they prove nothing about it.
const FAULTS: [(&str, u64); 41] = [
    ("PutRecords failed", 50),
    ("PutRecords unanswered", 1_000),
    ("all clocks skip", 12),
    ("answer lost", 2_000),
    ("busy", 20_000),
    ("call settled", 100),
    ("claim given back between two looks", 1),
    ("clock jump", 1_000),
    ("clock jump by hours", 100),
    ("compression", 2_000),
    ("copytruncate", 1_500),
    ("crash", 2_000),
    ("empty read", 10_000),
    ("end before the clock that was ahead", 20),
    ("failed", 300),
    ("freeze", 800),
    ("kill", 4_000),
    ("late", 1_500),
    ("merge", 300),
    ("metrics in doubt", 250),
    ("metrics refused", 500),
    ("own write found", 1_000),
    ("parcel again", 2_000),
    ("record late", 200),
    ("record refused", 4_000),
    ("reload", 1_000),
    ("rotation", 1_500),
    ("save fenced off", 250),
    ("second process refused", 250),
    ("seed with duplicate lines", 200),
    ("seed with late lines", 500),
    ("seed with windows followed into the metrics", 1_900),
    ("seed with windows that were joined", 40),
    ("slow", 4_000),
    ("split", 400),
    ("stale list", 15),
    ("stale look", 200),
    ("steal", 1_000),
    ("stop", 3_000),
    ("twice", 2_000),
    ("zombie sends rows", 20),
];

/// What comes of each, in order.
fn all(seeds: &[(Kind, u64)]) -> Vec<Outcome> {
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let Some(&(kind, seed)) = seeds.get(at) else { return };
                    let outcome = sim::run(kind, seed, false);
                    outcomes.lock().unwrap().insert(at, outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap().into_values().collect()
}

fn of_each_kind(seeds: u64) -> Vec<(Kind, u64)> {
    (0..seeds).flat_map(|seed| Kind::ALL.map(|kind| (kind, seed))).collect()
}

#[track_caller]
fn hold(outcomes: &[Outcome]) {
    let wrong: Vec<String> =
        outcomes.iter().filter(|outcome| !outcome.wrong.is_empty()).map(Outcome::complaint).collect();
    assert!(wrong.is_empty(), "{} of {} seeds:\n{}", wrong.len(), outcomes.len(), wrong.join("\n"));
}

#[test]
fn what_comes_out_is_what_a_replay_says_whatever_befalls_the_pipeline() {
    let outcomes = all(&[of_each_kind(SEEDS), RARE.to_vec()].concat());
    hold(&outcomes);
    assert!(outcomes.iter().all(|outcome| outcome.lines > 10), "a seed without lines proves nothing");
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (fault, count) in outcomes.iter().flat_map(|outcome| &outcome.counts) {
        *counts.entry(fault).or_default() += count;
    }
    let rare: Vec<_> =
        FAULTS.iter().filter(|(fault, least)| counts.get(fault).is_none_or(|count| count < least)).collect();
    assert!(rare.is_empty(), "too rare: {rare:?} in {counts:?}");
}

#[test]
fn seeds_that_found_a_bug_find_none_any_more() {
    hold(&all(&FOUND.map(|(_, kind, seed)| (kind, seed))));
}

#[test]
fn a_seed_has_one_trace() {
    let seeds = of_each_kind(30);
    let hashes = || all(&seeds).iter().map(|outcome| outcome.hash).collect::<Vec<u64>>();
    let (once, again) = (hashes(), hashes());
    assert_eq!(once, again);
    assert_ne!(once[0], once[1], "every seed has its own");
    let told = sim::run(seeds[0].0, seeds[0].1, true);
    assert_eq!(told.hash, once[0], "whoever reads it");
    assert!(told.trace.len() > 100);
}
