//! The command report: what the metrics hold, for a time or as it comes. Changes nothing.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use crate::{
    app::{Error, Exit, ledger::columns, output::Results, places::Place, replay_view::share, settings},
    backend::{Backend, Datum, embedded::Embedded},
    cli::ReportArgs,
    clock::Clock,
    config::Config,
    engine::{
        metric::{HEARTBEAT, REQUEST_COUNT},
        row::{HostCount, UNKNOWN},
        time::{Timestamp, WindowSize},
    },
    render::{Cell, Format, Report, render},
    report::{self, Count},
};

/// How many unknown hosts a report names.
const HOSTS_NAMED: usize = 10;
/// How often a followed report looks for a new window.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same where each look is paid for (`GetMetricData`).
#[cfg(feature = "aws")]
const LOOK_AT_AWS_EVERY: Duration = Duration::from_secs(15);
/// How far back CloudWatch lists metrics (`ListMetrics`), in milliseconds.
#[cfg(feature = "aws")]
const LISTED_MS: i64 = 14 * 24 * 3_600_000;
/// A window is reported when every shard closed it, or this long after its end, in milliseconds.
const GRACE_MS: i64 = crate::alarms::GRACE_MS;

/// `logtally report`
pub(crate) async fn command(args: ReportArgs, config: Config) -> Result<Exit, Error> {
    let clock = Clock::system();
    let place = Place::open(&config, false, &[], &clock).await?;
    let now = clock.now();
    let window = config.analyze.window;
    let from = window.start_of(args.since.resolve(now));
    let to = args.until.map_or(now, |until| until.resolve(now));
    if to <= from {
        let why = format!("nothing lies between --since {from} and --until {to}: --until is the later one");
        return Err(Error::new(Exit::Usage, why));
    }
    let reporting = Reporting {
        #[cfg(feature = "aws")]
        contacts: contacts(&place, &config).await,
        place,
        format: args.output.format,
        application: args.application,
    };
    let found = reporting.print((from, to)).await?;
    if !args.follow {
        if !found && reporting.format == Format::Table {
            reporting.hint(&config, now).await?;
        }
        return Ok(Exit::Success);
    }
    let mut next = window.start_of(now);
    loop {
        tokio::time::sleep(reporting.look_every()).await;
        match reporting.follow(&mut next, window, &clock).await {
            Err(error) if error.exit() == Exit::Unavailable => tracing::warn!("{error}; looking again"),
            followed => followed?,
        }
    }
}

/// The contacts that the metrics do not know themselves: CloudWatch knows none, so the reference data is asked.
#[cfg(feature = "aws")]
async fn contacts(place: &Place, config: &Config) -> BTreeMap<String, String> {
    match place {
        Place::Embedded(_) => BTreeMap::new(),
        Place::Aws(_) => match settings::reference(config.analyze.reference.as_deref()).await {
            Ok(reference) => {
                let owners = reference.owners().iter();
                owners.map(|owner| (owner.application.clone(), owner.contact.clone())).collect()
            }
            Err(error) => {
                tracing::warn!("a report without contacts: {error}");
                BTreeMap::new()
            }
        },
    }
}

struct Reporting {
    place: Place,
    #[cfg(feature = "aws")]
    contacts: BTreeMap<String, String>,
    format: Format,
    application: Option<String>,
}

impl Reporting {
    fn look_every(&self) -> Duration {
        match self.place {
            Place::Embedded(_) => LOOK_EVERY,
            #[cfg(feature = "aws")]
            Place::Aws(_) => LOOK_AT_AWS_EVERY,
        }
    }

    /// Prints the windows from `next` on that are complete, and moves it on.
    async fn follow(&self, next: &mut Timestamp, window: WindowSize, clock: &Clock) -> Result<(), Error> {
        while self.is_complete(*next, window, clock.now()).await? {
            self.print((*next, window.end_of(*next))).await?;
            *next = window.end_of(*next);
        }
        Ok(())
    }

    /// Sums of the metric `name`.
    async fn sums(&self, name: &str, (from, to): (Timestamp, Timestamp)) -> Result<Vec<Datum>, Error> {
        match &self.place {
            Place::Embedded(backend) => Ok(backend.read_metrics(name, from, to).await?),
            #[cfg(feature = "aws")]
            Place::Aws(backend) => Ok(backend.read_metrics(name, from, to).await?),
        }
    }

    /// Where the metrics are, and in what time to look for others.
    #[cfg_attr(
        not(feature = "aws"),
        expect(unused_variables, reason = "only CloudWatch lists no more than recent metrics")
    )]
    fn everything(&self, config: &Config, now: Timestamp) -> Result<(String, (Timestamp, Timestamp)), Error> {
        match &self.place {
            Place::Embedded(_) => {
                let file = config.state_dir()?.join(settings::FILE);
                Ok((format!("in {} yet", file.display()), (Timestamp::MIN, Timestamp::MAX)))
            }
            #[cfg(feature = "aws")]
            Place::Aws(_) => {
                let namespace = &config.deliver.namespace;
                let place = format!("in namespace {namespace} of CloudWatch in the last two weeks");
                Ok((place, (now.plus_millis(-LISTED_MS), now)))
            }
        }
    }

    /// Where the counts are, if not in the time asked for.
    async fn hint(&self, config: &Config, now: Timestamp) -> Result<(), Error> {
        let (place, range) = self.everything(config, now)?;
        let all = self.sums(REQUEST_COUNT, range).await?;
        let of = self.application.as_ref().map_or_else(String::new, |name| format!(" of {name:?}"));
        let starts = all
            .iter()
            .filter(|datum| datum.value > 0.0 && report::is_of(datum, self.application.as_deref()))
            .map(|datum| datum.timestamp);
        let hint = match (starts.clone().min(), starts.max()) {
            (Some(first), Some(last)) => {
                let last = config.analyze.window.end_of(last);
                format!(
                    "no requests{of} in that time; there are some from {first} to {last}: --since {first}"
                )
            }
            _ => format!("no requests{of} {place}"),
        };
        // Not a diagnostic that a filter may hide.
        drop(writeln!(io::stderr(), "{hint}"));
        Ok(())
    }

    /// Prints the counts of the windows that start in the range; whether there are any.
    async fn print(&self, range: (Timestamp, Timestamp)) -> Result<bool, Error> {
        let application = self.application.as_deref();
        let (counts, contacts, hosts) = match &self.place {
            Place::Embedded(backend) => {
                let counts = report::counts(backend, range, application).await?;
                (counts, backend.contacts().await?, hosts(backend, range).await?)
            }
            #[cfg(feature = "aws")]
            Place::Aws(backend) => {
                let counts = report::counts(backend, range, application).await?;
                (counts, self.contacts.clone(), Vec::new())
            }
        };
        let mut out = Results::stdout();
        if self.format == Format::Table && !counts.is_empty() {
            writeln!(out, "{} to {}", range.0, range.1)?;
        }
        if self.format != Format::Table || !counts.is_empty() {
            let report = table(&counts, &contacts, &hosts, self.format);
            render(&report, self.format, &mut out)?;
        }
        out.flush()?;
        Ok(counts.values().any(|count| count.requests > 0))
    }

    async fn is_complete(&self, start: Timestamp, window: WindowSize, now: Timestamp) -> Result<bool, Error> {
        let end = window.end_of(start);
        if now < end {
            return Ok(false);
        }
        let beats = self.sums(HEARTBEAT, (start, end)).await?;
        let share: f64 = beats.iter().map(|datum| datum.value).sum();
        Ok(share >= 0.999 || now.millis_since(end) >= GRACE_MS)
    }
}

/// The heaviest unknown hosts.
async fn hosts(backend: &Embedded, (from, to): (Timestamp, Timestamp)) -> Result<Vec<HostCount>, Error> {
    let mut sums: BTreeMap<String, HostCount> = BTreeMap::new();
    for (_, host) in backend.top_hosts(from, to).await? {
        let sum = sums.entry(host.host.clone()).or_insert(HostCount { count: 0, error: 0, ..host.clone() });
        sum.count += host.count;
        sum.error += host.error;
    }
    let mut hosts: Vec<HostCount> = sums.into_values().collect();
    hosts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.host.cmp(&b.host)));
    hosts.truncate(HOSTS_NAMED);
    Ok(hosts)
}

/// For people the unknown hosts stand below their application; for programs, whose sums they would falsify, beside it.
fn table(
    counts: &BTreeMap<String, Count>,
    contacts: &BTreeMap<String, String>,
    hosts: &[HostCount],
    format: Format,
) -> Report {
    let total: u64 = counts.values().map(|count| count.requests).sum();
    let mut order: Vec<_> = counts.iter().collect();
    order.sort_by(|(a, x), (b, y)| y.requests.cmp(&x.requests).then_with(|| a.cmp(b)));
    let mut rows = Vec::new();
    for (application, count) in order {
        let contact = contacts.get(application).cloned();
        let part = share(count.requests, total);
        let errors = share(count.errors, count.requests);
        let hosts = if application == UNKNOWN { hosts } else { &[] };
        let named: Vec<String> = hosts.iter().map(|host| format!("{} {}", host.host, host.count)).collect();
        let named = Some(named.join(", ")).filter(|_| !hosts.is_empty());
        let cells = [application.clone().into(), contact.into(), count.requests.into(), part, errors];
        rows.push([&cells[..], &[named.into()]].concat());
        if format == Format::Table {
            rows.extend(
                hosts.iter().map(|h| vec![format!("  {}", h.host).into(), Cell::Empty, h.count.into()]),
            );
        }
    }
    let mut columns = columns(&[
        ("applicationName", "Application"),
        ("contact", "Contact"),
        ("requests", "Requests#"),
        ("share", "Share#"),
        ("errorShare", "Errors#"),
        ("topHosts", "Hosts"),
    ]);
    if format == Format::Table {
        columns.pop();
    }
    Report { columns, rows }
}
