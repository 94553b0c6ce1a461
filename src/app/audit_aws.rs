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
        balance::{books, conclusion, wrong},
        inspect_aws::{cuts, inputs, outputs, say_that_nothing_ran},
        ledger::{columns, print, tables},
        output::Results,
    },
    audit::{self, Book, Excuse, SumBook, equations::named},
    backend::{
        Series,
        aws::{Account, AccountLine, Aws, Difference, SettledCall, Settlement, Verdict},
    },
    cli::{AuditArgs, Moment},
    clock::Clock,
    config::Config,
    engine::{
        metric::{REQUEST_COUNT, count},
        time::Timestamp,
    },
    render::{Format, Report},
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
    let mut book = Book::of_cuts(cuts(&leases)?);
    // Up to what CloudWatch takes: lines that are stamped ahead are counted there.
    let found = compare(aws, (from, now.plus_millis(AHEAD_MS))).await?;
    enter(&found, clock.now(), &mut book);
    let entries = audit::entries(&book);

    if leases.is_empty() {
        say_that_nothing_ran(config);
    }
    let mut reports = Vec::new();
    if let Some(settled) = &settled {
        reports.push(("calls in doubt", calls(settled)));
        if settled.calls.is_empty() {
            drop(writeln!(io::stderr(), "nothing to settle: no call is in doubt"));
        }
    }
    reports.extend(tables(&book, (true, format), inputs(&leases, &book, now)));
    reports.push(("output shards", outputs(&leases, now)));
    reports.extend(books(&entries, format));
    let mut out = Results::stdout();
    print(&reports, format, &mut out)?;
    if format == Format::Table {
        summarize((&found.account, &book, from), &mut out)?;
        writeln!(out, "{}", conclusion(&entries))?;
    }
    out.flush()?;
    Ok(if wrong(&entries) == 0 { Exit::Success } else { Exit::Found })
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

/// Enters the account into the books.
fn enter(found: &Found, now: Timestamp, book: &mut Book) {
    for line in &found.account.lines {
        let excuse = if found.wrong.contains(&key(line)) {
            line.is_to_come(now).then_some(Excuse::ToCome)
        } else {
            Some(Excuse::Moving)
        };
        book.sums.push(SumBook {
            series: line.series.clone(),
            timestamp: line.timestamp,
            delivered: line.done,
            in_doubt: line.in_doubt,
            refused: line.refused,
            out_of_range: line.out_of_range,
            found: line.found,
            excuse,
        });
        if line.series.name == REQUEST_COUNT {
            let application = line.series.dimensions.first().map(|(_, value)| value.clone());
            let window = book.windows.entry((line.timestamp, application.unwrap_or_default())).or_default();
            window.published += count(line.done);
            window.in_doubt += count(line.in_doubt);
            window.refused += count(line.refused);
            window.out_of_range += count(line.out_of_range);
        }
    }
}

fn summarize((account, book, since): (&Account, &Book, Timestamp), out: &mut impl Write) -> io::Result<()> {
    let Account { done, in_doubt, refused, lines } = account;
    writeln!(out, "\n{} series and windows compared with CloudWatch since {since}", lines.len())?;
    writeln!(out, "calls: {done} done, {in_doubt} in doubt, {refused} refused")?;
    let aged = lines.iter().filter(|line| line.out_of_range != 0.0).count();
    if aged > 0 {
        writeln!(out, "{aged} of them hold counts that CloudWatch does not take for their age")?;
    }
    let to_come = book.sums.iter().filter(|sum| sum.excuse == Some(Excuse::ToCome)).count();
    if to_come > 0 {
        writeln!(out, "{to_come} of them were sent too recently for CloudWatch to show them all")?;
    }
    Ok(())
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
