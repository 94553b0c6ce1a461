//! The command audit on AWS: cuts by themselves, and the ledger against CloudWatch. Mends nothing but what `--settle`
//! asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
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
        undelivered::Undelivered,
    },
    audit::{self, Book, Excuse, ShardCut, SumBook, WindowBook, WindowTotal, equations::named},
    backend::{
        Datum, Series, StoredLease,
        aws::{Account, AccountLine, Aws, Difference, SettledCall, Settlement, Verdict},
    },
    cli::{AuditArgs, Moment},
    clock::Clock,
    config::Config,
    deliver,
    engine::{
        metric::{application, count},
        time::Timestamp,
    },
    render::{Format, Report},
};

/// What is compared where nothing says since when: what CloudWatch shows within minutes.
const SINCE: Moment = Moment::Ago(Duration::from_hours(3));
/// How often a difference must be found: rows and calls that are sent between two answers make one.
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
    // Up to what CloudWatch takes: lines that are stamped ahead are counted there.
    let look = Look { aws, stream: &config.aws.output_stream, from, to: now.plus_millis(AHEAD_MS) };
    let Reading { leases, account, book } = look.compare(clock).await?;
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
        summarize((&account, &book, from), &mut out)?;
        writeln!(out, "{}", conclusion(&entries))?;
    }
    out.flush()?;
    Ok(if wrong(&entries) == 0 { Exit::Success } else { Exit::Found })
}

/// How far ahead of now a datum may be stamped (`MetricDatum`).
const AHEAD_MS: i64 = 2 * 3_600_000;

/// What is looked at, and from when to when.
struct Look<'a> {
    aws: &'a Aws,
    /// The stream of rows.
    stream: &'a str,
    from: Timestamp,
    to: Timestamp,
}

/// What was found at one look.
struct Reading {
    leases: Vec<StoredLease>,
    account: Account,
    book: Book,
}

/// What differs in a reading.
#[derive(Default)]
struct Odd {
    series: BTreeSet<(Series, Timestamp)>,
    windows: Vec<WindowTotal>,
}

impl Look<'_> {
    /// A reading whose book has all of it; only what differs in every reading is left different.
    async fn compare(&self, clock: &Clock) -> Result<Reading, Error> {
        let mut reading = self.read().await?;
        let mut odd = Odd::of(&reading);
        for _ in 1..READINGS {
            if odd.series.is_empty() && odd.windows.is_empty() {
                break;
            }
            reading = self.read().await?;
            odd = odd.still(Odd::of(&reading));
        }
        enter(&reading.account, (&odd, clock.now()), &mut reading.book);
        Ok(reading)
    }

    /// First what was published, then what became of it: what is published meanwhile can only be too much there.
    async fn read(&self) -> Result<Reading, Error> {
        let leases = self.aws.stored_leases().await?;
        let mut cuts = cuts(&leases)?;
        let rows = self.rows(&leases, &mut cuts).await?;
        let account = self.aws.account(self.from, self.to).await?;
        let mut book = Book::of_cuts(cuts);
        for (key, sums) in rows {
            *book.windows.entry(key).or_default() += &sums;
        }
        for ((start, application), sums) in &account.requests {
            let window = book.windows.entry((*start, application.clone())).or_default();
            window.published += sums.done;
            window.in_doubt += sums.in_doubt;
            window.refused += sums.refused;
            window.out_of_range += sums.out_of_range;
        }
        let (range, known_since) = (self.from..self.to, self.from.max(account.remembers));
        book.follow(|start, since| {
            range.contains(&start) && since >= known_since && !account.unattributed.contains(&start)
        });
        Ok(Reading { leases, account, book })
    }

    /// Requests in rows of which the ledger knows nothing: in the output stream, or not even there. Takes the outboxes out
    /// of the cuts: what is left in them may have been sent.
    async fn rows(
        &self,
        leases: &[StoredLease],
        cuts: &mut [ShardCut],
    ) -> Result<BTreeMap<(Timestamp, String), WindowBook>, Error> {
        let mut rows: BTreeMap<(Timestamp, String), WindowBook> = BTreeMap::new();
        let mut enter = |units: Vec<(String, Vec<Datum>)>, place: fn(&mut WindowBook) -> &mut u64| {
            for datum in units.into_iter().flat_map(|(_, datums)| datums) {
                if let Some(application) = application(&datum.series) {
                    let key = (datum.timestamp, application.to_owned());
                    *place(rows.entry(key).or_default()) += count(datum.value);
                }
            }
        };
        let mut undelivered = Undelivered::open(self.aws, (leases, self.stream), Some(self.from)).await?;
        while let Some(mut parcels) = undelivered.next().await? {
            parcels.retain(|parcel| self.aws.is_ours(&parcel.id));
            enter(self.aws.unclaimed(parcels).await?, |window| &mut window.waiting);
        }
        let outboxes = cuts.iter_mut().flat_map(|cut| std::mem::take(&mut cut.outbox));
        let unsent = outboxes.filter(|parcel| !undelivered.known.contains(&parcel.id));
        let unsent = unsent.map(|parcel| deliver::parcel(parcel.id, &parcel.lines).0);
        enter(self.aws.unclaimed(unsent.collect()).await?, |window| &mut window.outbox);
        Ok(rows)
    }
}

impl Odd {
    fn of(Reading { account, book, .. }: &Reading) -> Self {
        let series = account.lines.iter().filter(|line| !line.balances()).map(key).collect();
        Self { series, windows: book.totals.iter().filter(|total| total.lacks_rows()).copied().collect() }
    }

    /// What differs in both readings; of rows, by the same figures.
    fn still(&self, mut now: Self) -> Self {
        now.series.retain(|key| self.series.contains(key));
        now.windows.retain(|total| self.windows.iter().any(|before| before.has_rows_of(total)));
        now
    }
}

fn key(line: &AccountLine) -> (Series, Timestamp) {
    (line.series.clone(), line.timestamp)
}

/// Enters what was compared with CloudWatch, and excuses what may differ.
fn enter(account: &Account, (odd, now): (&Odd, Timestamp), book: &mut Book) {
    for total in &mut book.totals {
        let is_odd = odd.windows.iter().any(|odd| odd.start == total.start);
        total.excuse = (!is_odd).then_some(Excuse::Moving);
    }
    for line in &account.lines {
        let excuse = if odd.series.contains(&key(line)) {
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
    }
}

fn summarize((account, book, since): (&Account, &Book, Timestamp), out: &mut impl Write) -> io::Result<()> {
    let Account { done, in_doubt, refused, lines, .. } = account;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn odd(windows: &[(i64, u64, u64)]) -> Odd {
        let total = |&(start, published, waiting): &(i64, u64, u64)| WindowTotal {
            start: Some(Timestamp::from_millis(start)),
            published,
            rows: Some(WindowBook { waiting, ..WindowBook::default() }),
            ..WindowTotal::default()
        };
        Odd { windows: windows.iter().map(total).collect(), ..Odd::default() }
    }

    #[test]
    fn what_differs_by_other_figures_is_in_motion() {
        let before = odd(&[(0, 5, 4), (1, 5, 4), (2, 5, 4)]);
        let still = before.still(odd(&[(0, 5, 4), (1, 5, 3), (2, 6, 4), (3, 5, 4)]));
        assert_eq!(still.windows, odd(&[(0, 5, 4)]).windows);
        let mut book = Book { totals: odd(&[(0, 5, 4), (1, 5, 3)]).windows, ..Book::default() };
        enter(&Account::default(), (&still, Timestamp::from_millis(9)), &mut book);
        let verdicts: Vec<_> = audit::entries(&book).iter().map(|entry| entry.verdict).collect();
        let (no, moving) = (audit::Verdict::Differs, audit::Verdict::Excused(Excuse::Moving));
        assert_eq!(verdicts, [no, no, no, moving], "what was counted is in one cut: nothing of it moves");
    }

    #[test]
    fn only_what_differs_at_every_look_is_left_different_and_what_may_still_show_is_not() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        // Three were sent; CloudWatch shows all of them in a minute at the latest.
        let line = |(name, found): (&str, f64)| AccountLine {
            series: Series { name: name.to_owned(), dimensions: Vec::new() },
            timestamp: now,
            done: 3.0,
            in_doubt: 0.0,
            refused: 0.0,
            out_of_range: 0.0,
            found,
            shown: now.plus_millis(60_000),
        };
        let reading = |lines: &[(&str, f64)]| {
            let account = Account { lines: lines.iter().copied().map(line).collect(), ..Account::default() };
            Reading { leases: Vec::new(), account, book: Book::default() }
        };
        let before = reading(&[("Same", 2.0), ("Moved", 3.0), ("More", 4.0)]);
        let mut after = reading(&[("Same", 2.0), ("Moved", 2.0), ("More", 4.0), ("Right", 3.0)]);
        let odd = Odd::of(&before).still(Odd::of(&after));
        for (now, of_same) in [(now, Some(Excuse::ToCome)), (now.plus_millis(60_000), None)] {
            after.book.sums.clear();
            enter(&after.account, (&odd, now), &mut after.book);
            let excuses: Vec<_> = after.book.sums.iter().map(|sum| sum.excuse).collect();
            let moving = Some(Excuse::Moving);
            assert_eq!(excuses, [of_same, moving, None, moving], "more than was sent never comes right");
        }
    }
}
