//! One piece of the hot path on data at rest, once, for a program that counts its instructions. Measures nothing by
//! itself, and asks no clock.
//!
//! `instructions prepare|parse|window|replay DIRECTORY`; `.ci/instructions` builds it and does it all.

mod data;

use std::{
    fs,
    hint::black_box,
    io::{self, Write},
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use anyhow::{Context, bail, ensure};
use logtally::{
    engine::{
        count::{Counter, Plan, TimeSource},
        engine::Engine,
        format::{LogFormat, StampCache},
        record::Record,
        reference::Reference,
        row::{Origin, Output},
        settings::{Mode, Settings},
        state::State,
        time::{Timestamp, WindowSize},
    },
    render::rows::{RowFormat, RowWriter},
    replay,
};

use data::{Dice, combined};

/// Seven minutes, and so as many windows.
const LINES: u64 = 20_000;
const WINDOW_MS: i64 = 60_000;
/// About what a busy file's record holds.
const RECORD: usize = 64 * 1024;
/// The stamp of the first line.
const BEGIN_MS: i64 = 971_208_000_000;
const HOSTS: u64 = 3_000;
const OWNED: u64 = 2_400;
const APPLICATIONS: u64 = 60;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["prepare", directory] => prepare(Path::new(directory)),
        ["parse", directory] => parse(&fs::read(Path::new(directory).join("access.log"))?),
        ["window", directory] => window(Path::new(directory)),
        ["replay", directory] => replay_all(Path::new(directory)),
        _ => bail!("instructions prepare|parse|window|replay DIRECTORY"),
    }
}

fn prepare(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("access.log"), combined(LINES, visitor, "-"))?;
    let mut hosts = fs::File::create(directory.join("hosts.csv"))?;
    writeln!(hosts, "Host,ApplicationName,Contact")?;
    for number in 0..OWNED {
        let application = number % APPLICATIONS;
        writeln!(hosts, "{},App {application},team-{application}@example.com", host(number))?;
    }
    Ok(())
}

/// Few of the hosts make most of the requests.
fn visitor(dice: &mut Dice) -> String {
    let most = dice.roll(HOSTS) + 1;
    host(dice.roll(most))
}

/// Two addresses of IPv4, one of IPv6 and a name take turns.
fn host(number: u64) -> String {
    match number % 4 {
        0 => format!("web-{number}.eu-west-1.example.com"),
        1 => format!("2001:db8:{:x}::{:x}", number / 16, number),
        _ => format!("10.{}.{}.{}", number % 7, number / 250, number % 250 + 1),
    }
}

fn parse(log: &[u8]) -> anyhow::Result<()> {
    let format = LogFormat::named("combined").context("combined is a format")?;
    let mut stamps = StampCache::default();
    let mut parsed = 0;
    for line in log.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        parsed += u64::from(black_box(format.parse(black_box(line), &mut stamps)).is_ok());
    }
    ensure!(parsed == LINES, "{parsed} of {LINES} lines parsed");
    Ok(())
}

fn window(directory: &Path) -> anyhow::Result<()> {
    let (plan, reference) = (plan()?, reference(directory)?);
    let size = plan.window;
    let settings = Settings {
        origin: Origin { pipeline: "bench".to_owned(), epoch: 1, shard: "one".to_owned() },
        mode: Mode::Live,
        allowed_lateness_ms: 10_000,
        correction_interval_ms: 60_000,
        share: 1_000_000_000,
        zero_rows: true,
        top_hosts: 10,
    };
    let (mut engine, _) = Engine::new(settings, Counter::new(plan, reference), State::new(size));
    let log = fs::read(directory.join("access.log"))?;
    let (mut at, mut rows) = (0, 0);
    while let Some(rest) = log.get(at..).filter(|rest| !rest.is_empty()) {
        let whole = rest.get(..RECORD).and_then(|record| memchr::memrchr(b'\n', record));
        let end = at + whole.map_or(rest.len(), |end| end + 1);
        let lines_ms = i64::try_from(end as u64 * LINES / log.len() as u64)? * 20;
        let arrival = Timestamp::from_millis(BEGIN_MS + lines_ms);
        let partition_key = format!("00000000000000ff.1.{at}-{end}.{at}");
        let data = log.get(at..end).unwrap_or_default();
        engine.push(Record { partition_key: &partition_key, data, arrival });
        rows += counted(&black_box(engine.advance(arrival)));
        at = end;
    }
    rows += counted(&engine.close());
    ensure!(rows == LINES, "{rows} of {LINES} lines in rows");
    Ok(())
}

fn counted(outputs: &[Output]) -> u64 {
    let counts = outputs.iter().map(|output| match output {
        Output::Row(row) => row.response_count,
        Output::Health(_) => 0,
    });
    counts.sum()
}

fn replay_all(directory: &Path) -> anyhow::Result<()> {
    let settings = replay::Settings {
        files: vec![directory.join("access.log")],
        plan: plan()?,
        reference: reference(directory)?,
        disorder_ms: 60_000,
        threads: 1,
        zero_rows: true,
        top_hosts: 10,
    };
    let mut writer = RowWriter::new(io::sink(), RowFormat::Csv)?;
    let summary = replay::run(&settings, &Arc::new(AtomicU64::new(0)), |outputs| {
        outputs.iter().try_for_each(|output| match output {
            Output::Row(row) => writer.write(row),
            Output::Health(_) => Ok(()),
        })
    })?;
    writer.flush()?;
    ensure!(summary.counters.counted == LINES, "{} of {LINES} lines counted", summary.counters.counted);
    Ok(())
}

fn plan() -> anyhow::Result<Arc<Plan>> {
    let format = LogFormat::named("combined").context("combined is a format")?;
    Ok(Arc::new(Plan { format, window: WindowSize::from_millis(WINDOW_MS)?, time: TimeSource::Event }))
}

fn reference(directory: &Path) -> anyhow::Result<Arc<Reference>> {
    let csv = fs::read(directory.join("hosts.csv"))?;
    Ok(Arc::new(Reference::parse(&csv)?.reference))
}
