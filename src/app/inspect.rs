//! The commands status, audit and report: what the embedded file says. Changes nothing.

use std::{collections::BTreeMap, io::Write, path::Path, time::Duration};

use crate::{
    app::{Error, Exit, output::Results, settings},
    audit::{self, ShardCut},
    backend::{
        Backend, Stage,
        embedded::{
            Embedded,
            books::Books,
            stats::{ShardStats, StoredCheckpoint},
        },
    },
    cli::{AuditArgs, ReportArgs, StatusArgs},
    clock::Clock,
    config::Config,
    engine::{
        metric::HEARTBEAT,
        row::{HostCount, UNKNOWN},
        time::{Timestamp, WindowSize},
    },
    render::{Align, Cell, Column, Format, Report, render},
    report::{self, Count},
    tail,
};

/// How many unknown hosts a report names.
const HOSTS_NAMED: usize = 10;
/// How often a followed report looks for a new window.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A window is reported when every shard closed it, or this long after its end, in milliseconds.
const GRACE_MS: i64 = crate::alarms::GRACE_MS;

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
        render(report, args.output.format, &mut out)?;
    }
    out.flush()?;
    Ok(Exit::Success)
}

fn columns(names: &[(&'static str, &'static str)]) -> Vec<Column> {
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

/// `logtally report`
pub(crate) async fn report(args: ReportArgs, config: Config) -> Result<Exit, Error> {
    let clock = Clock::system();
    let backend = settings::embedded(&config, false, &clock).await?;
    let now = clock.now();
    let window = config.analyze.window;
    let from = window.start_of(args.since.resolve(now));
    let to = args.until.map_or(now, |until| until.resolve(now));
    let reporting = Reporting { backend, format: args.output.format, application: args.application };
    let found = reporting.print((from, to)).await?;
    if !args.follow {
        if !found && reporting.format == Format::Table {
            hint(&config, &reporting.backend).await?;
        }
        return Ok(Exit::Success);
    }
    let mut next = window.start_of(now);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        while reporting.is_complete(next, window, clock.now()).await? {
            reporting.print((next, window.end_of(next))).await?;
            next = window.end_of(next);
        }
    }
}

/// Where the counts are, if not in the time asked for.
async fn hint(config: &Config, backend: &Embedded) -> Result<(), Error> {
    let all =
        backend.read_metrics(crate::engine::metric::REQUEST_COUNT, Timestamp::MIN, Timestamp::MAX).await?;
    let counted = all.iter().filter(|datum| datum.value > 0.0).map(|datum| datum.timestamp);
    let file = config.state_dir()?.join(settings::FILE);
    let mut err = std::io::stderr();
    match (counted.clone().min(), counted.max()) {
        (Some(first), Some(last)) => {
            let last = config.analyze.window.end_of(last);
            writeln!(
                err,
                "no requests in that time; there are some from {first} to {last}: --since {first}"
            )?;
        }
        _ => writeln!(err, "no requests in {} yet", Path::new(&file).display())?,
    }
    Ok(())
}

struct Reporting {
    backend: Embedded,
    format: Format,
    application: Option<String>,
}

impl Reporting {
    /// Prints the counts of the windows that start in the range; whether there are any.
    async fn print(&self, range: (Timestamp, Timestamp)) -> Result<bool, Error> {
        let counts = report::counts(&self.backend, range, self.application.as_deref()).await?;
        let contacts = self.backend.contacts().await?;
        // Under their application, which only a table for people can show; elsewhere they would pass for applications.
        let hosts = if self.format == Format::Table { self.hosts(range).await? } else { Vec::new() };
        let mut out = Results::stdout();
        if self.format == Format::Table && !counts.is_empty() {
            writeln!(out, "{} to {}", range.0, range.1)?;
        }
        if self.format != Format::Table || !counts.is_empty() {
            render(&table(&counts, &contacts, &hosts), self.format, &mut out)?;
        }
        out.flush()?;
        Ok(counts.values().any(|count| count.requests > 0))
    }

    async fn hosts(&self, (from, to): (Timestamp, Timestamp)) -> Result<Vec<HostCount>, Error> {
        let mut sums: BTreeMap<String, HostCount> = BTreeMap::new();
        for (_, host) in self.backend.top_hosts(from, to).await? {
            let sum =
                sums.entry(host.host.clone()).or_insert(HostCount { count: 0, error: 0, ..host.clone() });
            sum.count += host.count;
            sum.error += host.error;
        }
        let mut hosts: Vec<HostCount> = sums.into_values().collect();
        hosts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.host.cmp(&b.host)));
        hosts.truncate(HOSTS_NAMED);
        Ok(hosts)
    }

    async fn is_complete(&self, start: Timestamp, window: WindowSize, now: Timestamp) -> Result<bool, Error> {
        let end = window.end_of(start);
        let beats = self.backend.read_metrics(HEARTBEAT, start, end).await?;
        let share: f64 = beats.iter().map(|datum| datum.value).sum();
        Ok(now >= end && (share >= 0.999 || now.millis_since(end) >= GRACE_MS))
    }
}

fn table(
    counts: &BTreeMap<String, Count>,
    contacts: &BTreeMap<String, String>,
    hosts: &[HostCount],
) -> Report {
    let total: u64 = counts.values().map(|count| count.requests).sum();
    let mut order: Vec<_> = counts.iter().collect();
    order.sort_by(|(a, x), (b, y)| y.requests.cmp(&x.requests).then_with(|| a.cmp(b)));
    let mut rows = Vec::new();
    for (application, count) in order {
        let contact = contacts.get(application).cloned();
        let share = super::replay_view::share(count.requests, total);
        let errors = super::replay_view::share(count.errors, count.requests);
        rows.push(vec![
            application.clone().into(),
            Cell::from(contact),
            count.requests.into(),
            share,
            errors,
        ]);
        if application == UNKNOWN {
            rows.extend(
                hosts.iter().map(|h| vec![format!("  {}", h.host).into(), Cell::Empty, h.count.into()]),
            );
        }
    }
    let columns = columns(&[
        ("applicationName", "Application"),
        ("contact", "Contact"),
        ("requests", "Requests#"),
        ("share", "Share#"),
        ("errorShare", "Errors#"),
    ]);
    Report { columns, rows }
}
