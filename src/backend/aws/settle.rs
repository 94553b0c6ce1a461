//! Calls in doubt, settled by reading the metric back; and the ledger's own account of the metrics. Sends nothing but
//! what the metric proves never to have been added.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    backend::{
        BackendError, Result, Series,
        aws::{
            Aws, Shared,
            call::Call,
            doubt::{self, Doubt, Finding},
            entries::{Entry, State},
            ledger::{DONE_MS, Ledger},
            send::{Outcome, put},
            sums,
        },
    },
    engine::{
        metric::{application, count, equal},
        time::Timestamp,
    },
};

/// What became of the calls in doubt.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    /// Each of them, the oldest first.
    pub calls: Vec<SettledCall>,
}

/// A call that was in doubt.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SettledCall {
    /// Its key in the ledger.
    pub call: String,
    /// When it was sent, if it was.
    pub claimed: Timestamp,
    /// How many parcels it holds.
    pub parcels: u64,
    /// How many datums it holds.
    pub datums: usize,
    /// Why it was in doubt.
    pub reason: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a call that was in doubt.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The metric has it: entered as done.
    Added,
    /// The metric lacked it: sent, and entered as done.
    Sent,
    /// The metric lacks it, and it is too old to be sent.
    TooOld,
    /// CloudWatch may not show all of it before this time: still in doubt.
    Waiting(Timestamp),
    /// The metric lacked it; sending it failed for this reason: still in doubt.
    NotSent(String),
    /// The metric is what it would be neither with it nor without it; the first series that shows it: still in doubt.
    Undecided(Option<Difference>),
}

/// A series and window whose sum is none that the ledger can explain.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The series.
    pub series: Series,
    /// The window.
    pub timestamp: Timestamp,
    /// The sum of the calls that are done.
    pub done: f64,
    /// The sum of the calls in doubt.
    pub in_doubt: f64,
    /// The sum that CloudWatch gives.
    pub found: f64,
}

/// What the ledger says of a stretch of time, beside what CloudWatch says.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Calls that are done.
    pub done: u64,
    /// Calls in doubt, those that are on their way this very moment included.
    pub in_doubt: u64,
    /// Calls that CloudWatch refused for good.
    pub refused: u64,
    /// Series and windows, in order.
    pub lines: Vec<AccountLine>,
    /// Requests of this pipeline's rows by window and application, whatever the namespace.
    pub requests: BTreeMap<(Timestamp, String), AccountedRequests>,
    /// Windows with calls of which the ledger does not say whose rows they add.
    pub unattributed: BTreeSet<Timestamp>,
    /// Every call that was claimed since then is in the ledger.
    pub remembers: Timestamp,
}

/// What the ledger says of the requests of one window and application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountedRequests {
    /// Added for certain.
    pub done: u64,
    /// Added or not.
    pub in_doubt: u64,
    /// Refused for good.
    pub refused: u64,
    /// Never sent, for their age.
    pub out_of_range: u64,
}

/// What the ledger says of one series and window, beside what CloudWatch says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountLine {
    /// The series.
    pub series: Series,
    /// The window.
    pub timestamp: Timestamp,
    /// Added for certain.
    pub done: f64,
    /// Added or not.
    pub in_doubt: f64,
    /// Refused for good.
    pub refused: f64,
    /// Never sent, for its age.
    pub out_of_range: f64,
    /// The sum that CloudWatch gives.
    pub found: f64,
    /// When CloudWatch shows all that was sent, at the latest.
    pub shown: Timestamp,
}

impl AccountLine {
    /// Whether CloudWatch has what the ledger says, whatever became of the calls in doubt.
    #[must_use]
    pub fn balances(&self) -> bool {
        equal(self.found, self.done)
            || self.done.min(self.done + self.in_doubt) <= self.found
                && self.found <= self.done.max(self.done + self.in_doubt)
    }

    /// Whether what CloudWatch lacks may still show.
    #[must_use]
    pub fn is_to_come(&self, now: Timestamp) -> bool {
        self.found < self.done && now < self.shown
    }
}

impl Aws {
    /// Settles the calls in doubt: reads the metric back, enters those that it holds as done, and sends those that it
    /// lacks. Calls that CloudWatch may not show yet are left alone.
    ///
    /// # Errors
    /// What the ledger or CloudWatch fails with; [`BackendError::Busy`] if the same windows were added to meanwhile.
    /// What was settled before stays so.
    pub async fn settle(&self) -> Result<Settlement> {
        Settling::new(&self.shared).run().await
    }

    /// The ledger's account of the windows that start in `from..to`, beside what CloudWatch says of the same series.
    /// Reads the whole ledger, which knows calls that are done for 16 days.
    ///
    /// # Errors
    /// What the ledger or CloudWatch fails with.
    pub async fn account(&self, from: Timestamp, to: Timestamp) -> Result<Account> {
        let settings = &self.shared.settings;
        let remembers = settings.clock.now().plus_millis(-DONE_MS);
        let mut account = Account { remembers, ..Account::default() };
        let mut lines: BTreeMap<(Series, Timestamp), AccountLine> = BTreeMap::new();
        let states = [State::Done, State::Claimed, State::Doubt, State::Refused];
        let namespace = &settings.namespace;
        let ledger = Ledger::new(&self.shared);
        let each = |entry: Entry| {
            account.attribute(&entry, (&settings.pipeline, namespace), (from, to));
            if entry.call.namespace == *namespace {
                account.enter(entry, (from, to), &mut lines);
            }
        };
        ledger.each_call((from, to.plus_millis(-1)), &states, each).await?;
        let series: BTreeSet<Series> = lines.keys().map(|(series, _)| series.clone()).collect();
        let series: Vec<Series> = series.into_iter().collect();
        for (key, sum) in sums::of(&self.shared, namespace, &series, from, to).await? {
            line(&mut lines, key).found = sum;
        }
        account.lines = lines.into_values().collect();
        Ok(account)
    }
}

impl AccountedRequests {
    /// Adds requests of a call in `state`, or of datums that were out of range.
    fn add(&mut self, state: Option<State>, requests: u64) {
        let sum = match state {
            None => &mut self.out_of_range,
            Some(State::Done) => &mut self.done,
            Some(State::Claimed | State::Doubt) => &mut self.in_doubt,
            Some(State::Refused) => &mut self.refused,
        };
        *sum = sum.saturating_add(requests);
    }
}

impl Account {
    /// Enters the requests of a call of this pipeline; of one that does not say so, if it is in the `namespace`.
    fn attribute(
        &mut self,
        entry: &Entry,
        (pipeline, namespace): (&str, &str),
        (from, to): (Timestamp, Timestamp),
    ) {
        let Call { datums, out_of_range, .. } = &entry.call;
        let is_ours = entry.pipeline.as_ref().map_or(entry.call.namespace == namespace, |of| of == pipeline);
        let sent = datums.iter().map(|datum| (datum, Some(entry.head.state)));
        let datums = sent.chain(out_of_range.iter().map(|datum| (datum, None)));
        for (datum, state) in datums.filter(|(datum, _)| from <= datum.timestamp && datum.timestamp < to) {
            let Some(application) = application(&datum.series) else { continue };
            if entry.pipeline.is_none() {
                self.unattributed.insert(datum.timestamp);
            }
            if is_ours {
                let key = (datum.timestamp, application.to_owned());
                self.requests.entry(key).or_default().add(state, count(datum.value));
            }
        }
    }

    fn enter(
        &mut self,
        entry: Entry,
        (from, to): (Timestamp, Timestamp),
        lines: &mut BTreeMap<(Series, Timestamp), AccountLine>,
    ) {
        match entry.head.state {
            State::Done => self.done += 1,
            State::Claimed | State::Doubt => self.in_doubt += 1,
            State::Refused => self.refused += 1,
        }
        let holds = |timestamp: Timestamp| from <= timestamp && timestamp < to;
        let shown = doubt::shown(&entry);
        for datum in entry.call.datums.into_iter().filter(|datum| holds(datum.timestamp)) {
            let line = line(lines, (datum.series, sums::minute(datum.timestamp)));
            line.shown = shown.max(line.shown);
            match entry.head.state {
                State::Done => line.done += datum.value,
                State::Claimed | State::Doubt => line.in_doubt += datum.value,
                State::Refused => line.refused += datum.value,
            }
        }
        for datum in entry.call.out_of_range.into_iter().filter(|datum| holds(datum.timestamp)) {
            line(lines, (datum.series, sums::minute(datum.timestamp))).out_of_range += datum.value;
        }
    }
}

fn line(
    lines: &mut BTreeMap<(Series, Timestamp), AccountLine>,
    key: (Series, Timestamp),
) -> &mut AccountLine {
    let (series, timestamp) = key.clone();
    let new = AccountLine {
        series,
        timestamp,
        done: 0.0,
        in_doubt: 0.0,
        refused: 0.0,
        out_of_range: 0.0,
        found: 0.0,
        shown: Timestamp::MIN,
    };
    lines.entry(key).or_insert(new)
}

struct Settling<'a> {
    shared: &'a Shared,
    ledger: Ledger,
    now: Timestamp,
}

impl<'a> Settling<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, ledger: Ledger::new(shared), now: shared.settings.clock.now() }
    }

    async fn run(&self) -> Result<Settlement> {
        let mut settlement = Settlement::default();
        let always = (Timestamp::MIN, Timestamp::MAX);
        let mut open: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        let collect = |entry: Entry| {
            if entry.head.state == State::Doubt || entry.head.is_stale(self.now) {
                open.entry(entry.call.namespace.clone()).or_default().push(entry);
            }
        };
        self.ledger.each_call(always, &[State::Claimed, State::Doubt], collect).await?;
        for (namespace, mut entries) in open {
            entries.sort_by_key(|entry| entry.head.at);
            for (entry, finding) in self.find(&namespace, entries).await? {
                let verdict = self.act(&entry, finding).await?;
                settlement.calls.push(SettledCall {
                    claimed: entry.head.at,
                    parcels: entry.head.parcels,
                    datums: entry.call.datums.len(),
                    call: entry.head.key,
                    reason: entry.reason,
                    verdict,
                });
            }
        }
        settlement.calls.sort_by_key(|call| call.claimed);
        Ok(settlement)
    }

    /// What the metric says of these calls in doubt.
    async fn find(&self, namespace: &str, entries: Vec<Entry>) -> Result<Vec<(Entry, Finding)>> {
        let mut doubt = Doubt::new(entries);
        let span = doubt.span();
        self.add_others(namespace, span, &mut doubt).await?;
        let series = doubt.series();
        let found = sums::of(self.shared, namespace, &series, span.0, span.1.plus_millis(1)).await?;
        // A call that was sent while the metric was read would be taken for one in doubt.
        let mut after = doubt.emptied();
        self.add_others(namespace, span, &mut after).await?;
        if !doubt.knows_what(&after) {
            let why = "calls for the windows in doubt were sent at this moment: settle again".to_owned();
            return Err(BackendError::Busy { why });
        }
        Ok(doubt.judge(&found, self.now))
    }

    async fn add_others(
        &self,
        namespace: &str,
        span: (Timestamp, Timestamp),
        doubt: &mut Doubt,
    ) -> Result<()> {
        let each = |entry: Entry| {
            if entry.call.namespace == namespace {
                doubt.add(&entry);
            }
        };
        self.ledger.each_call(span, &[State::Done, State::Claimed, State::Doubt], each).await
    }

    async fn act(&self, entry: &Entry, finding: Finding) -> Result<Verdict> {
        match finding {
            Finding::Waiting(until) => Ok(Verdict::Waiting(until)),
            Finding::Undecided(difference) => Ok(Verdict::Undecided(difference)),
            Finding::Added => {
                let entered =
                    self.ledger.enter(&entry.head.claim(), State::Done, "the metric has it").await?;
                Ok(if entered { Verdict::Added } else { Verdict::NotSent(OTHER.to_owned()) })
            }
            Finding::Missing if !entry.call.is_sendable(self.now) => Ok(Verdict::TooOld),
            Finding::Missing => self.send(entry).await,
        }
    }

    async fn send(&self, entry: &Entry) -> Result<Verdict> {
        let Some(claim) = self.ledger.take_over(&entry.head).await? else {
            return Ok(Verdict::NotSent(OTHER.to_owned()));
        };
        let datums = entry.call.datums.iter();
        let once = &self.shared.clients.cloudwatch_once;
        let (state, reason, verdict) = match put(once, &entry.call.namespace, datums).await {
            Outcome::Added => (State::Done, "settled: the metric lacked it".to_owned(), Verdict::Sent),
            Outcome::Refused(why) => (State::Refused, why.clone(), Verdict::NotSent(why)),
            Outcome::Unknown(why) => (State::Doubt, why.clone(), Verdict::NotSent(why)),
            Outcome::NotAdded(why) => (State::Doubt, entry.reason.clone(), Verdict::NotSent(why.to_string())),
        };
        self.ledger.enter(&claim, state, &reason).await?;
        Ok(verdict)
    }
}

const OTHER: &str = "another process settles it";
