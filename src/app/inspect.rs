//! The commands status and audit: what the embedded file says; what AWS says is in `inspect_aws` and `audit_aws`.
//! Changes nothing.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

#[cfg(feature = "aws")]
use crate::app::{audit_aws, inspect_aws};
use crate::{
    app::{Error, Exit, output::Results, places::Place},
    audit::{self, ShardCut},
    backend::{
        Stage, StoredCheckpoint,
        embedded::{Embedded, books::Books, stats::ShardStats},
    },
    cli::{AuditArgs, StatusArgs},
    clock::Clock,
    config::Config,
    engine::{state::State, time::Timestamp},
    render::{Align, Cell, Column, Format, Report, render},
    tail,
};

/// `logtally audit`
pub(crate) async fn audit(args: AuditArgs, config: Config) -> Result<Exit, Error> {
    let clock = Clock::system();
    match Place::open(&config, false, &[], &clock).await? {
        Place::Embedded(backend) => audit_here(args, &backend).await,
        #[cfg(feature = "aws")]
        Place::Aws(backend) => audit_aws::audit(args, (&config, &backend), &clock).await,
    }
}

async fn audit_here(args: AuditArgs, backend: &Embedded) -> Result<Exit, Error> {
    if args.since.is_some() {
        let why = "--since is for backend = \"aws\": on this machine every window is compared";
        return Err(Error::new(Exit::Usage, why));
    }
    if args.settle {
        // Not a diagnostic that a filter may hide.
        drop(writeln!(io::stderr(), "nothing to settle: on this machine no call is ever in doubt"));
    }
    let books = backend.books().await?;
    let entries = audit::entries(&books, &cuts(&books)?);
    let wrong = entries.iter().filter(|entry| !entry.balances()).count();
    let shown = entries
        .iter()
        .filter(|entry| args.output.format != Format::Table || !is_of_window(entry) || !entry.balances());
    let mut out = Results::stdout();
    let report = Report { columns: columns(&EQUATIONS), rows: shown.map(equation).collect() };
    render(&report, args.output.format, &mut out)?;
    if args.output.format == Format::Table {
        let windows = entries.iter().filter(|entry| is_of_window(entry)).count();
        let verdict = if wrong == 0 {
            "the books balance".to_owned()
        } else {
            format!("{wrong} equations do not balance")
        };
        writeln!(out, "\n{windows} windows and applications compared with the metrics; {verdict}")?;
    }
    out.flush()?;
    Ok(if wrong == 0 { Exit::Success } else { Exit::Found })
}

/// The columns of an audit.
pub(super) const EQUATIONS: [(&str, &str); 5] = [
    ("about", "About"),
    ("equation", "Equation"),
    ("left", "Left#"),
    ("right", "Right#"),
    ("balances", "Balances"),
];

pub(super) fn equation(entry: &audit::Entry) -> Vec<Cell> {
    let verdict = if entry.balances() { "yes" } else { "NO" };
    vec![
        entry.about.clone().into(),
        entry.equation.into(),
        entry.left.into(),
        entry.right.into(),
        verdict.into(),
    ]
}

fn is_of_window(entry: &audit::Entry) -> bool {
    entry.equation.starts_with("requests in delivered rows")
}

fn cuts(books: &Books) -> Result<Vec<ShardCut>, Error> {
    audit::cuts(&books.checkpoints).map_err(|error| Error::new(Exit::Data, error))
}

/// `logtally status`
pub(crate) async fn status(args: StatusArgs, config: Config) -> Result<Exit, Error> {
    let clock = Clock::system();
    let reports = match Place::open(&config, false, &[], &clock).await? {
        Place::Embedded(backend) => here(&backend, clock.now()).await?,
        #[cfg(feature = "aws")]
        Place::Aws(backend) => inspect_aws::status((&config, &backend), clock.now()).await?,
    };
    let mut out = Results::stdout();
    print(&reports, args.output.format, &mut out)?;
    out.flush()?;
    Ok(Exit::Success)
}

async fn here(backend: &Embedded, now: Timestamp) -> Result<Vec<(&'static str, Report)>, Error> {
    let books = backend.books().await?;
    let cuts = cuts(&books)?;
    Ok(vec![
        ("files", files(&books)?),
        ("input shards", shards(&books, &cuts, now)),
        ("malformed lines", malformed(&cuts)),
        ("output shards", outputs(&books, now)),
        ("alarms", alarms(backend).await?),
    ])
}

/// Those of several reports that say something, each with its title.
pub(super) fn print(reports: &[(&str, Report)], format: Format, out: &mut impl Write) -> io::Result<()> {
    let mut gap = "";
    for (title, report) in reports.iter().filter(|(_, report)| !report.rows.is_empty()) {
        if format == Format::Table {
            writeln!(out, "{gap}{title}")?;
            gap = "\n";
        }
        match format {
            Format::Table => render(report, Format::Table, out)?,
            format => render(&of_kind(title, report), format, out)?,
        }
    }
    Ok(())
}

/// With a first column that says what each row is about, for those who read several reports from one stream.
fn of_kind(kind: &str, report: &Report) -> Report {
    let kinds = [Column::left("kind", "Kind")];
    let row = |row: &Vec<Cell>| [&[Cell::from(kind)], row.as_slice()].concat();
    Report {
        columns: kinds.into_iter().chain(report.columns.iter().cloned()).collect(),
        rows: report.rows.iter().map(row).collect(),
    }
}

/// Columns of these names and titles; those whose title ends with `#` hold numbers.
pub(super) fn columns(names: &[(&'static str, &'static str)]) -> Vec<Column> {
    let align = |title: &str| if title.ends_with('#') { Align::Right } else { Align::Left };
    names
        .iter()
        .map(|&(name, title)| Column { name, title: title.trim_end_matches('#'), align: align(title) })
        .collect()
}

fn files(books: &Books) -> Result<Report, Error> {
    let states: Vec<tail::State> = books.sources.iter().map(|s| (s.generation, s.state.clone())).collect();
    let known = tail::known(&states).map_err(|error| Error::new(Exit::Data, error))?;
    let row = |file: tail::Known| {
        let size = std::fs::metadata(&file.path).ok().map(|metadata| metadata.len());
        let path = file.path.to_string_lossy().into_owned();
        let state = if file.complete { "read to its end" } else { "followed" };
        vec![path.into(), file.generation.into(), file.position.into(), Cell::from(size), state.into()]
    };
    Ok(Report {
        columns: columns(&[
            ("file", "File"),
            ("generation", "Generation#"),
            ("sentBytes", "Sent bytes#"),
            ("sizeBytes", "Size now#"),
            ("state", "State"),
        ]),
        rows: known.into_iter().map(row).collect(),
    })
}

fn shards(books: &Books, cuts: &[ShardCut], now: Timestamp) -> Report {
    let row = |(stats, taken): &(ShardStats, u64)| {
        let id = &stats.shard.id.0;
        let unread = stats.appended_bytes.saturating_sub(*taken);
        let Some(ShardCut { state, .. }) = cuts.iter().find(|cut| cut.shard == *id) else {
            return vec![id.clone().into(), stats.appended_bytes.into(), unread.into()];
        };
        let mut row = vec![id.clone().into(), stats.appended_bytes.into(), unread.into()];
        row.extend(counted(state));
        row.extend([
            (state.complete_to.as_millis() > i64::MIN).then_some(state.complete_to).into(),
            seconds_since(state.complete_to, now).into(),
        ]);
        row
    };
    let stream = [("shard", "Shard"), ("appendedBytes", "Bytes taken#"), ("unreadBytes", "Unread#")];
    let mark = [("completeTo", "Complete to"), ("behindSeconds", "Behind s#")];
    let names = [&stream[..], &COUNTED[..], &mark[..]].concat();
    Report { columns: columns(&names), rows: books.input.iter().map(row).collect() }
}

/// The columns of [`counted`].
pub(super) const COUNTED: [(&str, &str); 6] = [
    ("lines", "Lines#"),
    ("counted", "Counted#"),
    ("malformed", "Malformed#"),
    ("duplicate", "Duplicate#"),
    ("late", "Late#"),
    ("open", "In windows#"),
];

/// What became of a shard's lines.
pub(super) fn counted(state: &State) -> [Cell; 6] {
    let counters = &state.counters;
    [
        counters.read.into(),
        counters.counted.into(),
        counters.malformed_lines().into(),
        counters.duplicate.into(),
        counters.late.into(),
        (state.open.requests() + state.late.requests()).into(),
    ]
}

pub(super) fn malformed(cuts: &[ShardCut]) -> Report {
    let mut counts = BTreeMap::new();
    for (&reason, &lines) in cuts.iter().flat_map(|cut| &cut.state.counters.malformed) {
        *counts.entry(reason).or_insert(0) += lines;
    }
    let sample = |reason| cuts.iter().flat_map(|cut| cut.state.samples.iter()).find(|(of, _)| *of == reason);
    let row = |(reason, lines)| {
        let line = sample(reason).map(|(_, sample)| String::from_utf8_lossy(&sample.line).into_owned());
        vec![Cell::from(crate::engine::reason::Reason::as_str(reason)), Cell::Count(lines), line.into()]
    };
    Report {
        columns: columns(&[("reason", "Reason"), ("lines", "Lines#"), ("sample", "Sample")]),
        rows: counts.into_iter().map(row).collect(),
    }
}

pub(super) fn seconds_since(then: Timestamp, now: Timestamp) -> u64 {
    now.millis_since(then).max(0).unsigned_abs() / 1_000
}

fn outputs(books: &Books, now: Timestamp) -> Report {
    let row = |stats: &ShardStats| {
        let of_shard =
            |found: &&StoredCheckpoint| found.stage == Stage::Deliver && found.shard == stats.shard.id;
        let found = books.checkpoints.iter().find(of_shard);
        let position = found.and_then(|found| found.checkpoint.position.as_ref()?.0.parse::<u64>().ok());
        let waiting = stats.appended_records.saturating_sub(position.unwrap_or_default());
        let saved = found.map(|found| seconds_since(found.saved, now));
        vec![stats.shard.id.0.clone().into(), stats.appended_records.into(), waiting.into(), saved.into()]
    };
    Report {
        columns: columns(&[
            ("shard", "Shard"),
            ("parcels", "Parcels#"),
            ("waiting", "Waiting#"),
            ("deliveredSecondsAgo", "Delivered s ago#"),
        ]),
        rows: books.output.iter().map(row).collect(),
    }
}

async fn alarms(backend: &Embedded) -> Result<Report, Error> {
    let mut rows = Vec::new();
    for stored in backend.alarms().load().await? {
        let Ok(alarm) = postcard::from_bytes::<crate::engine::alarm::Alarm>(&stored.state) else { continue };
        for (application, state) in alarm.states() {
            let rule = alarm.rule().to_string();
            rows.push(vec![
                stored.name.clone().into(),
                rule.into(),
                application.into(),
                state.as_str().into(),
            ]);
        }
    }
    let columns = columns(&[
        ("alarm", "Alarm"),
        ("rule", "Rule"),
        ("applicationName", "Application"),
        ("state", "State"),
    ]);
    Ok(Report { columns, rows })
}
