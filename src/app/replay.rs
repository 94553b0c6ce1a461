//! The command replay: logs to windows and back-tested alarms. Counts nothing itself, and formats nothing.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use crate::{
    app::{Error, Exit, output::Results, progress::Progress, replay_view::View, settings},
    cli::ReplayArgs,
    config::{Config, TimeSource},
    engine::{
        alarm::{Alarm, Backtest, Episode, Missing, RuleError, State},
        counters::Counters,
        reason::Reason,
        row::{HostCount, Output, Row, UNKNOWN},
        time::Timestamp,
    },
    render::{Format, text::escape_terminal},
    replay::{self, ReplayError, Settings, Summary},
};

/// How many hosts an alarm names.
const HOSTS_NAMED: usize = 5;
/// Of how many windows in alarm the hosts are remembered; alarms of later ones name none.
const MAX_BLAMED: usize = 100_000;
/// How much of a malformed line is shown.
const SAMPLE_CHARS: usize = 100;

/// Replays logs and prints what they hold.
pub(crate) async fn command(args: ReplayArgs, config: Config) -> Result<Exit, Error> {
    let mut analyze = config.analyze;
    let by_flag = args.log_format.is_some() || args.client.is_some();
    analyze.format = args.log_format.unwrap_or(analyze.format);
    analyze.client = args.client.unwrap_or(analyze.client);
    analyze.window = args.window.unwrap_or(analyze.window);
    // Nobody knows when the lines of a log at rest arrived.
    analyze.time = TimeSource::Event;
    let plan = settings::plan(&analyze)
        .map_err(|error| if by_flag { error.of_the_command_line() } else { error })?;
    let mut alarms = Vec::with_capacity(args.alarms.len());
    for text in &args.alarms {
        let rule = text.parse().map_err(|error: RuleError| Error::new(Exit::Usage, error))?;
        alarms.push(Backtest::new(Alarm::new(text.to_owned(), rule, Missing::default(), plan.window)));
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let settings = Settings {
        files: args.files,
        plan,
        reference: settings::reference(args.reference.as_deref().or(analyze.reference.as_deref())).await?,
        disorder_ms: settings::millis(args.disorder),
        threads: args.threads.map_or(cores, Into::into),
        zero_rows: args.zero_rows,
        top_hosts: args.top.into(),
    };
    let (fail_on_alarm, format) = (args.fail_on_alarm, args.output.format);
    let replayed = tokio::task::spawn_blocking(move || replayed(&settings, format, alarms)).await;
    let (summary, fired) = replayed.map_err(|why| Error::new(Exit::Internal, why))??;
    report(&summary)?;
    Ok(if fired && fail_on_alarm { Exit::Found } else { Exit::Success })
}

fn replayed(settings: &Settings, format: Format, alarms: Vec<Backtest>) -> Result<(Summary, bool), Error> {
    let bytes = Arc::new(AtomicU64::new(0));
    let progress = Progress::of(&bytes, total(&settings.files));
    let view = View::new(Results::stdout(), format);
    let mut printer = Printer { view, alarms, blamed: Blamed::default() };
    let summary = replay::run(settings, &bytes, |outputs| printer.print(&outputs))?;
    drop(progress);
    let fired = printer.finish(&summary.counters)?;
    Ok((summary, fired))
}

/// The size of the logs on disk, if all of them are plain files; 0 if nobody knows how much they unpack to.
fn total(files: &[PathBuf]) -> u64 {
    let packed =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension != "log" && extension != "txt");
    if files.iter().any(packed) {
        return 0;
    }
    files.iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Says what was read, and what of it could not be counted and why.
fn report(summary: &Summary) -> Result<(), Error> {
    // Results that are complete are not made wrong by a standard error that takes nothing.
    drop(describe(summary, &mut io::stderr().lock()));
    let Some((path, why)) = summary.broken.first() else { return Ok(()) };
    let others = match summary.broken.len() {
        1 => String::new(),
        n => format!(", and {} more logs", n - 1),
    };
    let what = format!("{}: {why}: what stands before it is counted{others}", path.display());
    Err(Error::new(Exit::Io, what))
}

fn describe(Summary { counters, samples, .. }: &Summary, err: &mut impl Write) -> io::Result<()> {
    let reasons: Vec<String> =
        counters.malformed.iter().map(|(reason, lines)| format!("{} {lines}", reason.as_str())).collect();
    let malformed = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let (read, counted) = (counters.read, counters.counted);
    writeln!(err, "{read} lines: {counted} counted, {} malformed{malformed}", counters.malformed_lines())?;
    for (reason, found) in samples.iter() {
        writeln!(err, "  {}", sample(reason, found.column, &found.line))?;
    }
    Ok(())
}

/// `torn at column 18: 198.51.100.244 - - …`, harmless on a terminal.
fn sample(reason: Reason, column: u64, line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let line = escape_terminal(&line);
    let mut shown: String = line.chars().take(SAMPLE_CHARS).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    format!("{} at column {column}: {shown}", reason.as_str())
}

impl From<ReplayError> for Error {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Output(error) => error.into(),
            ReplayError::Open(_) => Self::new(Exit::Io, error),
            ReplayError::Refused { ref samples, .. } => {
                let shown = samples.iter().map(|(line, reason, column)| sample(*reason, *column, line));
                let shown = shown.collect();
                Self::new(Exit::Data, error).with(shown)
            }
        }
    }
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
            let unwatched = alarm.alarm().unwatched();
            let report = alarm.finish();
            if report.further > 0 {
                tracing::warn!(
                    "alarm {name}: would have fired {} times more, which are not listed",
                    report.further
                );
            }
            if unwatched > 0 {
                tracing::warn!(
                    "alarm {name}: more applications than one alarm watches: {unwatched} values not judged"
                );
            }
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

/// The unknown hosts of each window, so that an alarm can name them; a few a window, of the first [`MAX_BLAMED`].
#[derive(Default)]
struct Blamed(BTreeMap<Timestamp, Vec<HostCount>>);

impl Blamed {
    fn add(&mut self, start: Timestamp, window: &[&Row]) {
        if self.0.len() >= MAX_BLAMED {
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_of_so_many_windows_are_remembered_and_of_no_more() {
        let mut blamed = Blamed::default();
        for window in 0..=MAX_BLAMED {
            blamed.add(Timestamp::from_millis(i64::try_from(window).unwrap()), &[]);
        }
        assert_eq!(blamed.0.len(), MAX_BLAMED);
        assert!(blamed.0.contains_key(&Timestamp::from_millis(0)));
    }
}
