//! What a replay prints: a table a window, or rows, and what its alarms would have done. Counts nothing.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use crate::{
    engine::{
        alarm::Episode,
        counters::Counters,
        row::{HostCount, Row, UNKNOWN},
    },
    render::{
        Cell, Column, Format, Report, render,
        rows::{RowFormat, RowWriter},
        text::escape_terminal,
    },
};

/// Where rows go.
pub(crate) enum View<W: Write> {
    Table {
        out: W,
        windows: u64,
        totals: BTreeMap<(String, String), (u64, u64)>,
    },
    Rows(RowWriter<W>),
    /// Nothing was written yet, not even a header: the logs may still be refused.
    Waiting(Option<W>, RowFormat),
}

impl<W: Write> View<W> {
    pub(crate) fn new(out: W, format: Format) -> Self {
        match format {
            Format::Table => Self::Table { out, windows: 0, totals: BTreeMap::new() },
            Format::Csv => Self::Waiting(Some(out), RowFormat::Csv),
            Format::Json => Self::Waiting(Some(out), RowFormat::Json),
        }
    }

    fn start(&mut self) -> io::Result<()> {
        if let Self::Waiting(out, format) = self
            && let Some(out) = out.take()
        {
            *self = Self::Rows(RowWriter::new(out, *format)?);
        }
        Ok(())
    }

    pub(crate) fn window(&mut self, rows: &[&Row]) -> io::Result<()> {
        self.start()?;
        match self {
            Self::Waiting(..) => Ok(()),
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

    pub(crate) fn total(&mut self, counters: &Counters) -> io::Result<()> {
        self.start()?;
        let Self::Table { out, windows, totals } = self else { return Ok(()) };
        if *windows < 2 {
            return Ok(());
        }
        writeln!(out, "\nall {windows} windows  {} requests", counters.counted)?;
        render(&table(totals, [].into_iter()), Format::Table, out)
    }

    pub(crate) fn alarm(
        &mut self,
        rule: &str,
        window_ms: i64,
        episodes: &[(&Episode, Vec<HostCount>)],
    ) -> io::Result<()> {
        match self {
            Self::Waiting(..) => Ok(()),
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

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Waiting(..) => Ok(()),
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
pub(crate) fn share(part: u64, whole: u64) -> Cell {
    if whole == 0 { Cell::Empty } else { Cell::Percent(part as f64 / whole as f64) }
}
