//! The command audit on AWS: cuts by themselves, and the ledger against CloudWatch. Mends nothing but what `--settle`
//! asks for.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    time::Duration,
};

use crate::{
    app::{
        Error, Exit,
        inspect::{EQUATIONS, columns, equation, print},
        inspect_aws::{cuts, say_that_nothing_ran},
        output::Results,
    },
    audit::{self, ShardCut},
    backend::{
        Series,
        aws::{Account, AccountLine, Aws, Difference, SettledCall, Settlement, Verdict},
    },
    cli::{AuditArgs, Moment},
    clock::Clock,
    config::Config,
    engine::time::Timestamp,
    render::{Cell, Format, Report, render},
};

/// What is compared where nothing says since when: what CloudWatch shows within minutes.
const SINCE: Moment = Moment::Ago(Duration::from_hours(3));
/// How often a difference must be found: a call that is sent between the ledger's answer and CloudWatch's makes one.
const READINGS: usize = 3;

/// `logtally audit`
pub(super) async fn audit(
    args: AuditArgs,
    (config, aws): (&Config, &Aws),
    clock: &Clock,
) -> Result<Exit, Error> {
    let format = args.output.format;
    let now = clock.now();
    let from = config.analyze.window.start_of(args.since.unwrap_or(SINCE).resolve(now));
    if from >= now {
        return Err(Error::new(Exit::Usage, format!("--since {from} is not in the past")));
    }
    let settled = if args.settle { Some(aws.settle().await?) } else { None };
    let leases = aws.stored_leases().await?;
    let cuts: Vec<ShardCut> = cuts(&leases)?.into_iter().filter_map(|(_, cut)| cut).collect();
    // Up to what CloudWatch takes: lines that are stamped ahead are counted there.
    let found = compare(aws, (from, now.plus_millis(AHEAD_MS))).await?;
    let books = Books { entries: cuts.iter().flat_map(audit::of_cut).collect(), found, since: from };

    if leases.is_empty() {
        say_that_nothing_ran(config);
    }
    let mut out = Results::stdout();
    let report = books.report(format, clock.now());
    match settled {
        Some(settled) => {
            print(&[("calls in doubt", calls(&settled)), ("books", report)], format, &mut out)?;
            if settled.calls.is_empty() {
                drop(writeln!(io::stderr(), "nothing to settle: no call is in doubt"));
            }
        }
        None => render(&report, format, &mut out)?,
    }
    if format == Format::Table {
        books.summarize(&mut out, clock.now())?;
    }
    out.flush()?;
    Ok(if books.wrong(clock.now()) == 0 { Exit::Success } else { Exit::Found })
}

/// How far ahead of now a datum may be stamped (`MetricDatum`).
const AHEAD_MS: i64 = 2 * 3_600_000;

/// The ledger beside CloudWatch; only what differs in every reading is left different.
async fn compare(aws: &Aws, (from, to): (Timestamp, Timestamp)) -> Result<Found, Error> {
    let mut account = aws.account(from, to).await?;
    let mut wrong = different(&account);
    for _ in 1..READINGS {
        if wrong.is_empty() {
            break;
        }
        account = aws.account(from, to).await?;
        wrong = wrong.intersection(&different(&account)).cloned().collect();
    }
    Ok(Found { account, wrong })
}

fn different(account: &Account) -> BTreeSet<(Series, Timestamp)> {
    account.lines.iter().filter(|line| !line.balances()).map(key).collect()
}

fn key(line: &AccountLine) -> (Series, Timestamp) {
    (line.series.clone(), line.timestamp)
}

/// An account, and what differs in it.
struct Found {
    account: Account,
    wrong: BTreeSet<(Series, Timestamp)>,
}

struct Books {
    entries: Vec<audit::Entry>,
    found: Found,
    since: Timestamp,
}

impl Books {
    /// Equations that do not balance, and will not by waiting.
    fn wrong(&self, now: Timestamp) -> usize {
        let entries = self.entries.iter().filter(|entry| !entry.balances()).count();
        entries + self.differences().filter(|line| !line.is_to_come(now)).count()
    }

    fn differences(&self) -> impl Iterator<Item = &AccountLine> {
        self.found.account.lines.iter().filter(|line| self.found.wrong.contains(&key(line)))
    }

    /// Every equation; for people only those of CloudWatch that are worth a look.
    fn report(&self, format: Format, now: Timestamp) -> Report {
        let of_note = |line: &&AccountLine| {
            let odd = [line.in_doubt, line.refused, line.out_of_range].iter().any(|sum| *sum != 0.0);
            format != Format::Table || odd || self.found.wrong.contains(&key(line))
        };
        let verdict = |line: &AccountLine| match self.found.wrong.contains(&key(line)) {
            false => "yes",
            true if line.is_to_come(now) => "not yet",
            true => "NO",
        };
        let row = |line: &AccountLine| {
            vec![
                format!("{} {}", line.timestamp, named(&line.series)).into(),
                "delivered, as the ledger knows = in CloudWatch".into(),
                Cell::Number(line.done),
                Cell::Number(line.found),
                verdict(line).into(),
                Cell::Number(line.in_doubt),
                Cell::Number(line.refused),
                Cell::Number(line.out_of_range),
            ]
        };
        let more = [("inDoubt", "In doubt#"), ("refused", "Refused#"), ("outOfRange", "Out of range#")];
        let lines = self.found.account.lines.iter().filter(of_note).map(row);
        Report {
            columns: columns(&[&EQUATIONS[..], &more[..]].concat()),
            rows: self.entries.iter().map(equation).chain(lines).collect(),
        }
    }

    fn summarize(&self, out: &mut impl Write, now: Timestamp) -> io::Result<()> {
        let Account { done, in_doubt, refused, lines } = &self.found.account;
        let compared = lines.len();
        writeln!(out, "\n{compared} series and windows compared with CloudWatch since {}", self.since)?;
        writeln!(out, "calls: {done} done, {in_doubt} in doubt, {refused} refused")?;
        let aged = lines.iter().filter(|line| line.out_of_range != 0.0).count();
        if aged > 0 {
            writeln!(out, "{aged} of them hold counts that CloudWatch does not take for their age")?;
        }
        let to_come = self.differences().filter(|line| line.is_to_come(now)).count();
        if to_come > 0 {
            writeln!(out, "{to_come} of them were sent too recently for CloudWatch to show them all")?;
        }
        match self.wrong(now) {
            0 if to_come > 0 => writeln!(out, "nothing is known to differ"),
            0 => writeln!(out, "the books balance"),
            1 => writeln!(out, "1 equation does not balance"),
            wrong => writeln!(out, "{wrong} equations do not balance"),
        }
    }
}

/// What became of each call that was in doubt.
fn calls(settled: &Settlement) -> Report {
    let row = |call: &SettledCall| {
        let (verdict, detail) = verdict(&call.verdict);
        vec![
            call.call.clone().into(),
            call.claimed.into(),
            call.parcels.into(),
            u64::try_from(call.datums).unwrap_or(u64::MAX).into(),
            call.reason.clone().into(),
            verdict.into(),
            detail.into(),
        ]
    };
    Report {
        columns: columns(&[
            ("call", "Call"),
            ("claimed", "Sent at"),
            ("parcels", "Parcels#"),
            ("datums", "Datums#"),
            ("reason", "Reason"),
            ("verdict", "Verdict"),
            ("detail", "Detail"),
        ]),
        rows: settled.calls.iter().map(row).collect(),
    }
}

fn verdict(verdict: &Verdict) -> (&'static str, Option<String>) {
    match verdict {
        Verdict::Added => ("added", Some("CloudWatch has it".to_owned())),
        Verdict::Sent => ("sent", Some("CloudWatch lacked it".to_owned())),
        Verdict::TooOld => ("too old", Some("CloudWatch lacks it, and takes it no more".to_owned())),
        Verdict::Waiting(until) => {
            ("waiting", Some(format!("CloudWatch may not show all of it before {until}: settle then")))
        }
        Verdict::NotSent(why) => ("not sent", Some(format!("CloudWatch lacked it: {why}"))),
        Verdict::Undecided(difference) => ("undecided", difference.as_ref().map(explain)),
    }
}

fn explain(Difference { series, timestamp, done, in_doubt, found }: &Difference) -> String {
    format!(
        "{timestamp} {}: CloudWatch has {found}, the ledger {done} for certain and {in_doubt} in doubt",
        named(series)
    )
}

/// `RequestCount Billing`
fn named(series: &Series) -> String {
    let dimensions = series.dimensions.iter().map(|(_, value)| value.as_str());
    std::iter::once(series.name.as_str()).chain(dimensions).collect::<Vec<_>>().join(" ")
}
