//! Writes a realistic access log and the reference data that goes with it. The same seed gives the same bytes.
//!
//! ```sh
//! cargo run --release --example generate -- --lines 5000000 --seed 1 --out access.log --hosts hosts.csv
//! ```

#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a program for developers: tables of its own, and a panic is a message"
)]

mod hosts;
mod lines;
mod plan;
mod random;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Parser;
use logtally::{clock::Clock, engine::time::Timestamp};

use lines::Lines;

/// Bytes gathered before they are written.
const BUFFER: usize = 256 * 1024;

/// How often live lines are written.
const TICK: Duration = Duration::from_millis(10);

/// Writes a seeded, realistic access log in Apache's combined format.
#[derive(Parser)]
struct Arguments {
    /// Lines to write, malformed ones (one in 1,000) included
    #[arg(long, default_value_t = 1_000_000)]
    lines: u64,
    /// The same seed gives the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The log; appended to with --rate, else replaced
    #[arg(long)]
    out: PathBuf,
    /// Where to write the reference data: 2,400 hosts of 60 applications
    #[arg(long)]
    hosts: Option<PathBuf>,
    /// The first minute, RFC 3339
    #[arg(long, default_value = "2026-11-21T00:00:00Z")]
    start: String,
    /// Hours that the log covers
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=8_784))]
    hours: u64,
    /// Minutes that the log covers, instead of hours
    #[arg(long, conflicts_with = "hours", value_parser = clap::value_parser!(u64).range(1..=60))]
    minutes: Option<u64>,
    /// So many of the lines come from unknown hosts of their own, all in one five-minute window in the middle (with
    /// --rate: every second line)
    #[arg(long, alias = "unknown-hosts", default_value_t = 0)]
    distinct_unknown: u32,
    /// Write so many lines a second, as time passes, with current stamps
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        u64::from(arguments.distinct_unknown) <= arguments.lines,
        "--distinct-unknown must not be more than --lines"
    );
    if let Some(path) = &arguments.hosts {
        let csv = hosts::reference(&hosts::hosts(arguments.seed));
        fs::write(path, csv).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let live = arguments.rate.is_some();
    let out = File::options()
        .create(true)
        .write(true)
        .append(live)
        .truncate(!live)
        .open(&arguments.out)
        .with_context(|| format!("cannot write {}", arguments.out.display()))?;
    let mut lines = Lines::new(arguments.seed);
    let bytes = match arguments.rate {
        Some(rate) => write_live(&arguments, rate, &mut lines, out)?,
        None => write_planned(&arguments, &mut lines, out)?,
    };
    let (count, malformed) = (arguments.lines, lines.malformed);
    writeln!(io::stderr(), "{count} lines, {malformed} of them malformed, {bytes} bytes")?;
    Ok(())
}

/// All lines at once, stamped as planned; the number of bytes.
fn write_planned(arguments: &Arguments, lines: &mut Lines, mut out: impl Write) -> anyhow::Result<u64> {
    let start = Timestamp::parse_rfc3339(&arguments.start).context("--start must be RFC 3339")?;
    let strangers = u64::from(arguments.distinct_unknown);
    let mut buffer = Vec::with_capacity(BUFFER + 4096);
    let (mut bytes, mut stranger) = (0, 0);
    let minutes = arguments.minutes.unwrap_or(arguments.hours * 60);
    for minute in plan::plan(start.as_millis(), minutes, arguments.lines, strangers) {
        for number in 0..minute.lines {
            let time = minute.start + i64::try_from(60_000 * number / minute.lines)?;
            // Strangers are spread evenly over the minute's lines.
            let due = |number: u64| number * minute.strangers / minute.lines;
            if due(number + 1) > due(number) {
                lines.push_stranger(stranger, time, &mut buffer);
                stranger += 1;
            } else {
                lines.push(time, &mut buffer);
            }
            if buffer.len() >= BUFFER {
                bytes += flush(&mut buffer, &mut out)?;
            }
        }
    }
    Ok(bytes + flush(&mut buffer, &mut out)?)
}

/// Lines as time passes; the number of bytes.
fn write_live(
    arguments: &Arguments,
    rate: u64,
    lines: &mut Lines,
    mut out: impl Write,
) -> anyhow::Result<u64> {
    let clock = Clock::system();
    let begin = clock.now();
    let mut buffer = Vec::new();
    let (mut bytes, mut written, mut stranger) = (0, 0, 0);
    while written < arguments.lines {
        let now = clock.now();
        let passed = u128::try_from(now.millis_since(begin)).unwrap_or(0);
        let due = u64::try_from(u128::from(rate) * passed / 1000).unwrap_or(u64::MAX);
        while written < due.min(arguments.lines) {
            if written % 2 == 0 && stranger < arguments.distinct_unknown {
                lines.push_stranger(stranger, now.as_millis(), &mut buffer);
                stranger += 1;
            } else {
                lines.push(now.as_millis(), &mut buffer);
            }
            written += 1;
            if buffer.len() >= BUFFER {
                bytes += flush(&mut buffer, &mut out)?;
            }
        }
        bytes += flush(&mut buffer, &mut out)?;
        thread::sleep(TICK);
    }
    Ok(bytes)
}

fn flush(buffer: &mut Vec<u8>, out: &mut impl Write) -> io::Result<u64> {
    out.write_all(buffer)?;
    let bytes = buffer.len() as u64;
    buffer.clear();
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn log(seed: &str, more: &[&str]) -> (String, u64) {
        let fixed = ["generate", "--out", "-", "--lines", "20000", "--seed", seed];
        let arguments = Arguments::parse_from(fixed.iter().chain(more));
        let mut lines = Lines::new(arguments.seed);
        let mut out = Vec::new();
        let bytes = write_planned(&arguments, &mut lines, &mut out).unwrap();
        assert_eq!(bytes, out.len() as u64);
        (String::from_utf8(out).unwrap(), lines.malformed)
    }

    #[test]
    fn the_same_seed_gives_the_same_log() {
        let (log_1, malformed) = log("1", &[]);
        assert_eq!(log("1", &[]).0, log_1);
        assert_ne!(log("2", &[]).0, log_1);
        assert_eq!(log_1.lines().count(), 20_000);
        assert!((5..60).contains(&malformed), "{malformed}");
        let average = log_1.len() / 20_000;
        assert!((225..255).contains(&average), "{average}");
        assert_eq!(hosts::reference(&hosts::hosts(1)), hosts::reference(&hosts::hosts(1)));
    }

    #[test]
    fn user_agents_are_distinct_and_all_call() {
        let (log, _) = log("1", &[]);
        let whole = log.lines().filter(|line| line.split('"').count() == 7);
        let agents: BTreeSet<_> = whole.filter_map(|line| line.split('"').nth(5)).collect();
        assert_eq!(agents.len(), lines::AGENTS);
    }

    #[test]
    fn hosts_are_distinct_and_four_fifths_are_owned() {
        let hosts = hosts::hosts(1);
        assert_eq!(hosts.iter().collect::<BTreeSet<_>>().len(), 3_000);
        let csv = hosts::reference(&hosts);
        assert_eq!(csv.lines().count(), 2_401);
        let owners: BTreeSet<_> = csv.lines().skip(1).filter_map(|row| row.split(',').nth(1)).collect();
        assert_eq!(owners.len(), hosts::APPLICATIONS);
    }

    #[test]
    fn strangers_share_one_window() {
        let (log, _) = log("1", &["--distinct-unknown", "5000"]);
        let strangers: Vec<_> = log.lines().filter(|line| line.starts_with("100.")).collect();
        let hosts: BTreeSet<_> = strangers.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!((hosts.len(), log.lines().count()), (5_000, 20_000));
        assert!(strangers.iter().all(|line| line.contains("[21/Nov/2026:12:0")));
        let minutes: BTreeSet<_> =
            strangers.iter().filter_map(|line| line.get(..50)?.split(':').nth(2)).collect();
        assert_eq!(minutes.into_iter().collect::<Vec<_>>(), ["00", "01", "02", "03", "04"]);
    }
}
