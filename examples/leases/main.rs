//! How a fleet of workers shares the shards of a large stream, in virtual time, and what its table of leases costs.
//!
//! ```sh
//! cargo run --release --no-default-features --example leases -- --shards 10000 --workers 200
//! ```
//!
//! At that size it takes some two minutes of processor time, on as many processors as there are.

#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a program for developers: tables of its own, and a panic is a message"
)]

mod sim;

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use clap::Parser;
use logtally::render::{Cell, Column, Format, Report, render};

use sim::{Outcome, Scenario, Settings};

/// Plays a start, deaths, a deploy and growth of a fleet over a table of leases in memory.
#[derive(Parser)]
struct Arguments {
    /// Shards of the stream
    #[arg(long, default_value = "10000")]
    shards: NonZeroUsize,
    /// Workers of the fleet
    #[arg(long, default_value = "200")]
    workers: NonZeroUsize,
    /// The same seed gives the same result
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long a lease lasts, in milliseconds
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(300..))]
    lease: u64,
    /// Bytes of a compressed cut; up to 4,096 stay in the item, larger ones go to S3
    #[arg(long, default_value_t = 30_000)]
    cut: usize,
    /// When to give up waiting for balance, in seconds after the event
    #[arg(long, default_value_t = 400)]
    limit: u64,
    /// How the results are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn main() -> io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let settings = Settings {
        shards: arguments.shards.get(),
        workers: arguments.workers.get(),
        seed: arguments.seed,
        lease_ms: arguments.lease,
        cut_bytes: arguments.cut,
        limit_ms: arguments.limit * 1_000,
    };
    let outcomes = all(&settings);
    let mut out = io::stdout().lock();
    render(&report(&outcomes), arguments.format, &mut out)?;
    for wrong in outcomes.iter().flat_map(|outcome| &outcome.wrong) {
        writeln!(out, "{wrong}")?;
    }
    let is_right = outcomes.iter().all(|outcome| outcome.wrong.is_empty());
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every scenario, as many at once as there are processors.
fn all(settings: &Settings) -> Vec<Outcome> {
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(scenario) = Scenario::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = sim::run(*scenario, settings);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| Scenario::ALL.iter().position(|scenario| *scenario == outcome.scenario));
    outcomes
}

fn report(outcomes: &[Outcome]) -> Report {
    let columns = vec![
        Column::left("scenario", "Scenario"),
        Column::right("allReadSeconds", "All read s"),
        Column::right("balancedSeconds", "Balanced s"),
        Column::right("longestUnreadSeconds", "Unread s"),
        Column::right("longestTwiceSeconds", "Twice s"),
        Column::right("readUnitsPerSecond", "RCU/s"),
        Column::right("writeUnitsPerSecond", "WCU/s"),
        Column::right("listShardsPerSecond", "ListShards/s"),
        Column::right("peakReadUnitsPerSecond", "Peak RCU/s"),
        Column::right("peakWriteUnitsPerSecond", "Peak WCU/s"),
        Column::right("takes", "Takes"),
        Column::right("steals", "Steals"),
        Column::right("lostRaces", "Lost races"),
        Column::right("fewestShards", "Fewest"),
        Column::right("mostShards", "Most"),
    ];
    Report { columns, rows: outcomes.iter().map(row).collect() }
}

fn row(outcome: &Outcome) -> Vec<Cell> {
    let Outcome { at_rest, peak, .. } = outcome;
    vec![
        outcome.scenario.name().into(),
        outcome.all_read_ms.map_or(Cell::Empty, seconds),
        outcome.balanced_ms.map_or(Cell::Empty, seconds),
        seconds(outcome.longest_unread_ms),
        seconds(outcome.longest_twice_ms),
        at_rest.read_units.into(),
        at_rest.write_units.into(),
        at_rest.list_shards.into(),
        peak.read_units.into(),
        peak.write_units.into(),
        outcome.counts.takes.into(),
        outcome.counts.steals.into(),
        outcome.counts.lost_races.into(),
        (outcome.fewest as u64).into(),
        (outcome.most as u64).into(),
    ]
}

/// In tenths, which is as exact as the fleet is looked at.
fn seconds(millis: u64) -> Cell {
    let tenths = u32::try_from(millis.div_ceil(100)).unwrap_or(u32::MAX);
    Cell::Number(f64::from(tenths) / 10.0)
}
