//! Fleets of workers over a table of leases in memory, at a size that is quickly played. What happens to them is in
//! `examples/leases`, which plays it with ten thousand shards.

#[path = "../../examples/leases/sim/mod.rs"]
mod sim;

use sim::{Scenario, Settings};

/// From one look to the next: a lease and a little more.
const LOOK_MS: u64 = 3 * 3_358;
/// A dead worker's leases are seen last at a look, count as dead at another, and are taken a little later; a lost race
/// costs a third of that.
const ORPHANED_MS: u64 = 2 * LOOK_MS + LOOK_MS / 3;

fn settings(seed: u64) -> Settings {
    Settings { shards: 100, workers: 8, seed, lease_ms: 10_000, cut_bytes: 30_000, limit_ms: 600_000 }
}

#[test]
fn a_fleet_shares_all_shards_evenly_and_only_who_took_a_shard_saves_it() {
    for seed in 1..=5 {
        for scenario in Scenario::ALL {
            let outcome = sim::run(scenario, &settings(seed));
            let what = format!("{}, seed {seed}: {outcome:?}", scenario.name());
            assert_eq!(outcome.wrong, [""; 0], "{what}");
            assert!(outcome.all_read_ms.is_some() && outcome.balanced_ms.is_some(), "{what}");
            assert!(outcome.most - outcome.fewest <= 1, "{what}");
            assert!(outcome.counts.saves > 0 && outcome.counts.takes >= outcome.counts.steals, "{what}");
            assert!(outcome.peak.write_units >= outcome.at_rest.write_units, "{what}");
        }
    }
}

#[test]
fn what_a_dead_worker_read_is_read_again_soon_after_its_leases_end() {
    for seed in 1..=5 {
        let outcome = sim::run(Scenario::OneDies, &settings(seed));
        assert!(outcome.longest_unread_ms > 6_666 && outcome.longest_unread_ms < ORPHANED_MS, "{outcome:?}");
    }
}

#[test]
fn what_a_look_costs_grows_with_the_shards_times_the_workers() {
    let at_rest = |shards, cut_bytes| {
        let settings = Settings { shards, workers: 11, cut_bytes, ..settings(1) };
        let outcome = sim::run(Scenario::OneDies, &settings);
        assert_eq!((outcome.most - outcome.fewest, outcome.wrong.len()), (0, 0), "{outcome:?}");
        outcome.at_rest
    };
    // Ten workers look once a lease; eight items and a half share a unit, and a unit is two without consistency.
    let (few, many) = (at_rest(500, 30_000), at_rest(2_000, 30_000));
    for (rates, items) in [(few, 500.0), (many, 2_000.0)] {
        let read = f64::from(u32::try_from(rates.read_units).unwrap());
        let expected = 10.0 * items / 17.0 / 10.074;
        assert!((read / expected - 1.0).abs() < 0.1, "{rates:?}, not {expected}");
    }
    assert!(few.list_shards <= 1, "{few:?}");
    let large = at_rest(500, 4_000);
    assert!(large.read_units > 7 * few.read_units, "a cut in the item: {large:?}");
    assert!(large.write_units > 3 * few.write_units, "a cut in the item: {large:?}");
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_one_does_not() {
    let start = |seed| sim::run(Scenario::Start, &settings(seed));
    assert_eq!(start(7), start(7));
    assert_ne!(start(7), start(8));
}
