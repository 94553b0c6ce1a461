//! The command replay: windows as tables or rows, back-tested alarms, and what could not be counted. Counts nothing.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    engine::{
        alarm::{Backtest, Episode, State},
        counters::Counters,
        row::{HostCount, Output, Row, UNKNOWN},
        time::Timestamp,
    },
    render::{
        Cell, Column, Format, Report, render,
        rows::{RowFormat, RowWriter},
        text::escape_terminal,
    },
    replay::{self, ReplayError, Settings, Summary},
};

/// How many hosts an alarm names.
const HOSTS_NAMED: usize = 5;

/// Where rows go.
enum View<W: Write> {
    Table { out: W, windows: u64, totals: BTreeMap<(String, String), (u64, u64)> },
    Rows(RowWriter<W>),
}

/// What a run found.
pub(crate) struct Found {
    pub(crate) summary: Summary,
    pub(crate) fired: bool,
}

/// Replays the logs of `settings` and prints windows and alarms to `out` as they come.
pub(crate) fn run<W: Write>(
    settings: &Settings,
    format: Format,
    alarms: Vec<Backtest>,
    (out, bytes): (W, &Arc<AtomicU64>),
) -> Result<Found, ReplayError> {
    let mut printer = Printer {
        view: View::new(out, format).map_err(ReplayError::Output)?,
        alarms,
        blamed: Blamed::default(),
    };
    let summary = replay::run(settings, bytes, |outputs| printer.print(&outputs))?;
    let fired = printer.finish(&summary.counters).map_err(ReplayError::Output)?;
    Ok(Found { summary, fired })
}

struct Printer<W: Write> {
    view: View<W>,
    alarms: Vec<Backtest>,
    blamed: Blamed,
}

impl<W: Write> Printer<W> {
    fn print(&mut self, outputs: &[Output]) -> io::Result<()> {
        let rows: Vec<&Row> = outputs.iter().filter_map(row).collect();
        for window in rows.chunk_by(|a, b| (a.window_start, a.revision) == (b.window_start, b.revision)) {
            self.observe(window);
            self.view.window(window)?;
        }
        Ok(())
    }

    /// Shows a window to the alarms. Corrections are not evaluated, as `CloudWatch` does not.
    fn observe(&mut self, window: &[&Row]) {
        let Some(first) = window.first().filter(|row| row.revision == 0) else { return };
        let mut sums = BTreeMap::new();
        for row in window {
            *sums.entry(row.application_name.clone()).or_insert(0) += row.response_count;
        }
        for alarm in &mut self.alarms {
            alarm.observe(first.window_start, &sums);
        }
        let of_unknown = |(application, state)| application == UNKNOWN && state == State::Alarm;
        if self.alarms.iter().any(|alarm| alarm.alarm().states().any(of_unknown)) {
            self.blamed.add(first.window_start, window);
        }
    }

    fn finish(mut self, counters: &Counters) -> io::Result<bool> {
        self.view.total(counters)?;
        let mut fired = false;
        for alarm in std::mem::take(&mut self.alarms) {
            let (name, window) = (alarm.alarm().rule().to_string(), alarm.alarm().window());
            let report = alarm.finish();
            fired |= !report.episodes.is_empty();
            let episodes: Vec<_> =
                report.episodes.iter().map(|episode| (episode, self.blamed.of(episode))).collect();
            self.view.alarm(&name, window.as_millis(), &episodes)?;
        }
        self.view.flush()?;
        Ok(fired)
    }
}

fn row(output: &Output) -> Option<&Row> {
    match output {
        Output::Row(row) => Some(row),
        Output::Health(_) => None,
    }
}

/// The unknown hosts of each window, so that an alarm can name them; a few a window.
#[derive(Default)]
struct Blamed(BTreeMap<Timestamp, Vec<HostCount>>);

impl Blamed {
    fn add(&mut self, start: Timestamp, window: &[&Row]) {
        let hosts = window.iter().flat_map(|row| &row.top_hosts).take(HOSTS_NAMED);
        self.0.insert(start, hosts.cloned().collect());
    }

    /// The heaviest hosts of the windows in alarm.
    fn of(&self, episode: &Episode) -> Vec<HostCount> {
        if episode.application != UNKNOWN {
            return Vec::new();
        }
        let until = episode.until.unwrap_or(Timestamp::MAX);
        let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for host in self.0.range(episode.from..until).flat_map(|(_, hosts)| hosts) {
            let sum = sums.entry(&host.host).or_default();
            *sum = (sum.0 + host.count, sum.1 + host.error);
        }
        let named =
            |(host, (count, error)): (&str, (u64, u64))| HostCount { host: host.to_owned(), count, error };
        let mut hosts: Vec<HostCount> = sums.into_iter().map(named).collect();
        hosts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.host.cmp(&b.host)));
        hosts.truncate(HOSTS_NAMED);
        hosts
    }
}

impl<W: Write> View<W> {
    fn new(out: W, format: Format) -> io::Result<Self> {
        Ok(match format {
            Format::Table => Self::Table { out, windows: 0, totals: BTreeMap::new() },
            Format::Csv => Self::Rows(RowWriter::new(out, RowFormat::Csv)?),
            Format::Json => Self::Rows(RowWriter::new(out, RowFormat::Json)?),
        })
    }

    fn window(&mut self, rows: &[&Row]) -> io::Result<()> {
        match self {
            Self::Rows(writer) => rows.iter().try_for_each(|row| writer.write(row)),
            Self::Table { out, windows, totals } => {
                let Some(first) = rows.first() else { return Ok(()) };
                let sums = by_application(rows.iter().copied());
                let correction = if first.revision > 0 { "  correction" } else { "" };
                let requests: u64 = sums.values().map(|&(requests, _)| requests).sum();
                let blank = if *windows > 0 { "\n" } else { "" };
                let (start, end) = (first.window_start, first.window_end);
                writeln!(out, "{blank}{start} to {end}  {requests} requests{correction}")?;
                let hosts = rows.iter().flat_map(|row| &row.top_hosts);
                render(&table(&sums, hosts), Format::Table, out)?;
                *windows += 1;
                for (application, (requests, errors)) in sums {
                    let total = totals.entry(application).or_default();
                    *total = (total.0 + requests, total.1 + errors);
                }
                Ok(())
            }
        }
    }

    fn total(&mut self, counters: &Counters) -> io::Result<()> {
        let Self::Table { out, windows, totals } = self else { return Ok(()) };
        if *windows < 2 {
            return Ok(());
        }
        writeln!(out, "\nall {windows} windows  {} requests", counters.counted)?;
        render(&table(totals, [].into_iter()), Format::Table, out)
    }

    fn alarm(
        &mut self,
        rule: &str,
        window_ms: i64,
        episodes: &[(&Episode, Vec<HostCount>)],
    ) -> io::Result<()> {
        match self {
            Self::Table { out, .. } => {
                let fired = match episodes.len() {
                    0 => "would not have fired".to_owned(),
                    1 => "would have fired once".to_owned(),
                    n => format!("would have fired {n} times"),
                };
                writeln!(out, "\nalarm {}: {fired}", escape_terminal(rule))?;
                episodes.iter().try_for_each(|(episode, hosts)| {
                    writeln!(out, "  {}", describe(episode, hosts, window_ms))
                })
            }
            Self::Rows(writer) => episodes.iter().try_for_each(|(episode, hosts)| {
                let alarm = serde_json::json!({ "kind": "alarm", "rule": rule, "episode": episode, "topHosts": hosts });
                if writer.write_other(&alarm)? {
                    return Ok(());
                }
                let line = describe(episode, hosts, window_ms);
                writeln!(io::stderr(), "alarm {}: {line}", escape_terminal(rule))
            }),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Table { out, .. } => out.flush(),
            Self::Rows(writer) => writer.flush(),
        }
    }
}

/// `Unknown from … to … (3 windows, peak 142) because of 203.0.113.9 (80), …`
fn describe(episode: &Episode, hosts: &[HostCount], window_ms: i64) -> String {
    let Episode { application, from, until, windows, peak, .. } = episode;
    let until = until.map_or_else(|| "the end of the log".to_owned(), |until| until.to_string());
    let minutes = i64::try_from(*windows).unwrap_or(i64::MAX).saturating_mul(window_ms) / 60_000;
    let peak = peak.map_or_else(String::new, |peak| format!(", peak {peak}"));
    let named = |host: &HostCount| format!("{} ({})", escape_terminal(&host.host), host.count);
    let hosts: Vec<String> = hosts.iter().map(named).collect();
    let because = if hosts.is_empty() { String::new() } else { format!(" because of {}", hosts.join(", ")) };
    format!("{} from {from} to {until} ({minutes} min{peak}){because}", escape_terminal(application))
}

/// Requests and errors (status 400 and above) by application and contact.
fn by_application<'r>(rows: impl Iterator<Item = &'r Row>) -> BTreeMap<(String, String), (u64, u64)> {
    let mut sums: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for row in rows {
        let sum = sums.entry((row.application_name.clone(), row.contact.clone())).or_default();
        let errors = if row.response.is_some_and(|status| status >= 400) { row.response_count } else { 0 };
        *sum = (sum.0 + row.response_count, sum.1 + errors);
    }
    sums
}

fn table<'h>(
    sums: &BTreeMap<(String, String), (u64, u64)>,
    hosts: impl Iterator<Item = &'h HostCount>,
) -> Report {
    let columns = vec![
        Column::left("applicationName", "  Application"),
        Column::left("contact", "Contact"),
        Column::right("requests", "Requests"),
        Column::right("share", "Share"),
        Column::right("errorShare", "Errors"),
    ];
    let total: u64 = sums.values().map(|&(requests, _)| requests).sum();
    let mut order: Vec<_> = sums.iter().collect();
    order.sort_by(|(a, (x, _)), (b, (y, _))| y.cmp(x).then_with(|| a.cmp(b)));
    let mut rows = Vec::new();
    let mut hosts = Some(hosts);
    for ((application, contact), &(requests, errors)) in order {
        let cells = [format!("  {application}").into(), contact.clone().into(), requests.into()];
        rows.push([&cells[..], &[share(requests, total), share(errors, requests)]].concat());
        if application == UNKNOWN {
            let host =
                |host: &HostCount| vec![format!("    {}", host.host).into(), Cell::Empty, host.count.into()];
            rows.extend(hosts.take().into_iter().flatten().map(host));
        }
    }
    Report { columns, rows }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> Cell {
    if whole == 0 { Cell::Empty } else { Cell::Percent(part as f64 / whole as f64) }
}

/// Shows on standard error how much was counted, if that is a terminal.
pub(crate) struct ProgressBar(Option<indicatif::ProgressBar>);

impl ProgressBar {
    /// Of `total` bytes, 0 if unknown.
    pub(crate) fn new(total: u64, show: bool) -> Self {
        Self(show.then(|| {
            let style = "{bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
            let style = indicatif::ProgressStyle::with_template(style)
                .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar());
            indicatif::ProgressBar::new(total).with_style(style)
        }))
    }

    /// Follows `bytes` until dropped; polled from its own thread so that counting is not slowed down.
    pub(crate) fn follow(&self, bytes: &AtomicU64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes.load(Ordering::Relaxed));
        }
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
