//! The commands status and audit: what the embedded file says. Changes nothing.

use std::{collections::BTreeMap, io::Write};

use crate::{
    app::{Error, Exit, output::Results, settings},
    audit::{self, ShardCut},
    backend::{
        Stage, StoredCheckpoint,
        embedded::{Embedded, books::Books, stats::ShardStats},
    },
    cli::{AuditArgs, StatusArgs},
    clock::Clock,
    config::Config,
    engine::time::Timestamp,
    render::{Align, Cell, Column, Format, Report, render},
    tail,
};

/// `logtally audit`
pub(crate) async fn audit(args: AuditArgs, config: Config) -> Result<Exit, Error> {
    let backend = settings::embedded(&config, false, &Clock::system()).await?;
    let books = backend.books().await?;
    let entries = audit::entries(&books, &cuts(&books)?);
    let wrong = entries.iter().filter(|entry| !entry.balances()).count();
    let columns = vec![
        Column::left("about", "About"),
        Column::left("equation", "Equation"),
        Column::right("left", "Left"),
        Column::right("right", "Right"),
        Column::left("balances", "Balances"),
    ];
    let shown = entries
        .iter()
        .filter(|entry| args.output.format != Format::Table || !is_of_window(entry) || !entry.balances());
    let row = |entry: &audit::Entry| {
        let verdict = if entry.balances() { "yes" } else { "NO" };
        vec![
            entry.about.clone().into(),
            entry.equation.into(),
            entry.left.into(),
            entry.right.into(),
            verdict.into(),
        ]
    };
    let mut out = Results::stdout();
    render(&Report { columns, rows: shown.map(row).collect() }, args.output.format, &mut out)?;
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

fn is_of_window(entry: &audit::Entry) -> bool {
    entry.equation.starts_with("requests in delivered rows")
}

fn cuts(books: &Books) -> Result<Vec<ShardCut>, Error> {
    audit::cuts(&books.checkpoints).map_err(|error| Error::new(Exit::Data, error))
}

/// `logtally status`
pub(crate) async fn status(args: StatusArgs, config: Config) -> Result<Exit, Error> {
    let clock = Clock::system();
    let backend = settings::embedded(&config, false, &clock).await?;
    let books = backend.books().await?;
    let cuts = cuts(&books)?;
    let mut out = Results::stdout();
    let reports = [
        ("files", files(&books)?),
        ("input shards", shards(&books, &cuts, clock.now())),
        ("malformed lines", malformed(&cuts)),
        ("output shards", outputs(&books, clock.now())),
        ("alarms", alarms(&backend).await?),
    ];
    for (index, (title, report)) in reports.iter().enumerate() {
        if report.rows.is_empty() {
            continue;
        }
        if args.output.format == Format::Table {
            writeln!(out, "{}{title}", if index > 0 { "\n" } else { "" })?;
        }
        match args.output.format {
            Format::Table => render(report, Format::Table, &mut out)?,
            format => render(&of_kind(title, report), format, &mut out)?,
        }
    }
    out.flush()?;
    Ok(Exit::Success)
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
        let counters = &state.counters;
        let behind = now.millis_since(state.complete_to).max(0).unsigned_abs() / 1_000;
        vec![
            id.clone().into(),
            stats.appended_bytes.into(),
            unread.into(),
            counters.read.into(),
            counters.counted.into(),
            counters.malformed_lines().into(),
            counters.duplicate.into(),
            counters.late.into(),
            (state.open.requests() + state.late.requests()).into(),
            (state.complete_to.as_millis() > i64::MIN).then_some(state.complete_to).into(),
            behind.into(),
        ]
    };
    Report {
        columns: columns(&[
            ("shard", "Shard"),
            ("appendedBytes", "Bytes taken#"),
            ("unreadBytes", "Unread#"),
            ("lines", "Lines#"),
            ("counted", "Counted#"),
            ("malformed", "Malformed#"),
            ("duplicate", "Duplicate#"),
            ("late", "Late#"),
            ("open", "In windows#"),
            ("completeTo", "Complete to"),
            ("behindSeconds", "Behind s#"),
        ]),
        rows: books.input.iter().map(row).collect(),
    }
}

fn malformed(cuts: &[ShardCut]) -> Report {
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

fn outputs(books: &Books, now: Timestamp) -> Report {
    let row = |stats: &ShardStats| {
        let of_shard =
            |found: &&StoredCheckpoint| found.stage == Stage::Deliver && found.shard == stats.shard.id;
        let found = books.checkpoints.iter().find(of_shard);
        let position = found.and_then(|found| found.checkpoint.position.as_ref()?.0.parse::<u64>().ok());
        let waiting = stats.appended_records.saturating_sub(position.unwrap_or_default());
        let saved = found.map(|found| now.millis_since(found.saved).max(0).unsigned_abs() / 1_000);
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
