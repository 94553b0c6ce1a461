//! Lives of the whole pipeline in one process, by the million: seeds of the simulation that the tests run some of.
//!
//! ```sh
//! cargo run --release --no-default-features --example simulate -- --seeds 1000000
//! cargo run --release --no-default-features --example simulate -- --backend aws --seed 7
//! ```

#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a program for developers: tables of its own, and a panic is a message"
)]

mod sim;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use clap::{Parser, ValueEnum};

use sim::{Kind, Outcome};

/// Runs the three stages over simulated services with faults everywhere, and compares with a replay.
#[derive(Parser)]
struct Arguments {
    /// How many seeds, of each backend.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this one, with its trace.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Only this backend's semantics.
    #[arg(long)]
    backend: Option<Semantics>,
    /// How many simulations at once; each has one thread.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Semantics {
    Embedded,
    Aws,
}

/// What came of all seeds so far.
#[derive(Default)]
struct Total {
    seeds: u64,
    lines: u64,
    wrong: u64,
    counts: BTreeMap<&'static str, u64>,
}

fn main() -> io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let kinds = match arguments.backend {
        None => Kind::ALL.to_vec(),
        Some(Semantics::Embedded) => vec![Kind::Embedded],
        Some(Semantics::Aws) => vec![Kind::Aws],
    };
    let total = match arguments.seed {
        Some(seed) => trace(&kinds, seed)?,
        None => all(&kinds, &arguments),
    };
    let mut out = io::stdout().lock();
    let Total { seeds, lines, wrong, counts } = &total;
    writeln!(out, "{seeds} seeds, {lines} lines, {wrong} wrong; {counts:?}")?;
    Ok(if *wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn trace(kinds: &[Kind], seed: u64) -> io::Result<Total> {
    let mut total = Total::default();
    for &kind in kinds {
        let outcome = sim::run(kind, seed, true);
        let mut out = io::stdout().lock();
        for line in &outcome.trace {
            writeln!(out, "{line}")?;
        }
        for wrong in &outcome.wrong {
            writeln!(out, "{wrong}")?;
        }
        writeln!(out, "trace {:016x}", outcome.hash)?;
        total.add(&outcome);
    }
    Ok(total)
}

fn all(kinds: &[Kind], arguments: &Arguments) -> Total {
    let (next, total) = (AtomicU64::new(0), Mutex::new(Total::default()));
    let count = arguments.seeds * kinds.len() as u64;
    thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let kinds_count = kinds.len() as u64;
                    let kind = kinds[usize::try_from(number % kinds_count).unwrap_or_default()];
                    let outcome = sim::run(kind, arguments.from + number / kinds_count, false);
                    total.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome);
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.lines += outcome.lines;
        for (fault, count) in &outcome.counts {
            *self.counts.entry(fault).or_default() += count;
        }
        if !outcome.wrong.is_empty() {
            self.wrong += 1;
            // Nobody reads it any more if this fails.
            let _ = writeln!(io::stdout(), "{}", outcome.complaint());
        }
    }
}
