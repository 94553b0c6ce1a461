//! Which calls in doubt a metric holds, from its sums and from what is known of other calls. Asks no service.
//!
//! A call is added as a whole or not at all. For every series and window that a call in doubt holds, the sum found is
//! that of the calls that are done and of those in doubt that were added. A choice of these that explains every sum is
//! as good as what happened: what is missing from the sums is the same for every such choice.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    backend::{
        Datum, Series,
        aws::{
            entries::{Entry, State},
            settle::Difference,
            sums::{self, Sums},
        },
    },
    engine::{metric::equal, time::Timestamp},
};

/// Most calls in doubt that share windows for which every choice is tried: 2^12. Of more, all and none are.
const TOGETHER: usize = 12;
/// When CloudWatch shows what was added (`PutMetricData`): recent windows within two minutes, windows of 3 to 24 hours
/// ago within two hours, older ones after 48 hours or more. Each with as much again, for good measure, up to a day.
const SHOWN_MS: [(i64, i64); 3] =
    [(3 * HOUR_MS, HOUR_MS / 12), (24 * HOUR_MS, 4 * HOUR_MS), (i64::MAX, 72 * HOUR_MS)];
const HOUR_MS: i64 = 3_600_000;

type Key = (Series, Timestamp);

fn key(datum: &Datum) -> Key {
    (datum.series.clone(), sums::minute(datum.timestamp))
}

/// What the metric says of a call in doubt.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    Added,
    Missing,
    /// Not all of it may be shown before this time.
    Waiting(Timestamp),
    /// No choice explains the sums; the first sum that shows it.
    Undecided(Option<Difference>),
}

/// Calls in doubt, and what else was added to their windows.
#[derive(Debug)]
pub(super) struct Doubt {
    entries: Vec<Entry>,
    /// Every series and window of the calls in doubt, and the sum of the calls that are done.
    done: BTreeMap<Key, f64>,
    /// When the last of the other calls of a window is shown for certain.
    shown: BTreeMap<Key, Timestamp>,
}

impl Doubt {
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let keys = entries.iter().flat_map(|entry| &entry.call.datums);
        let done = keys.map(|datum| (key(datum), 0.0)).collect();
        Self { entries, done, shown: BTreeMap::new() }
    }

    /// The same windows, without what was added to them.
    pub(super) fn emptied(&self) -> Self {
        let done = self.done.keys().map(|key| (key.clone(), 0.0)).collect();
        let entries = self.entries.clone();
        Self { entries, done, shown: BTreeMap::new() }
    }

    /// Whether nothing was added to the windows since: `after` is the same a while later.
    pub(super) fn knows_what(&self, after: &Self) -> bool {
        self.done == after.done && self.shown == after.shown
    }

    /// First and last window.
    pub(super) fn span(&self) -> (Timestamp, Timestamp) {
        let times = || self.done.keys().map(|(_, timestamp)| *timestamp);
        (times().min().unwrap_or_default(), times().max().unwrap_or_default())
    }

    pub(super) fn series(&self) -> Vec<Series> {
        let series: BTreeSet<&Series> = self.done.keys().map(|(series, _)| series).collect();
        series.into_iter().cloned().collect()
    }

    /// Another call: one that is done, or on its way.
    pub(super) fn add(&mut self, entry: &Entry) {
        if self.entries.iter().any(|own| own.head.key == entry.head.key) {
            return;
        }
        for datum in &entry.call.datums {
            let key = key(datum);
            let Some(sum) = self.done.get_mut(&key) else { continue };
            if entry.head.state == State::Done {
                *sum += datum.value;
            }
            let shown = shown(entry);
            let latest = self.shown.entry(key).or_insert(shown);
            *latest = shown.max(*latest);
        }
    }

    /// What `found` says of each call.
    pub(super) fn judge(self, found: &Sums, now: Timestamp) -> Vec<(Entry, Finding)> {
        let mut findings = BTreeMap::new();
        for group in self.groups() {
            for (index, finding) in group.iter().zip(self.judge_group(&group, found, now)) {
                findings.insert(*index, finding);
            }
        }
        let finding = |(index, entry)| (entry, findings.remove(&index).unwrap_or(Finding::Undecided(None)));
        self.entries.into_iter().enumerate().map(finding).collect()
    }

    /// Calls that share windows, directly or through others.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<(BTreeSet<Key>, Vec<usize>)> = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let datums = entry.call.datums.iter();
            let keys: BTreeSet<Key> = datums.map(key).collect();
            let (shared, apart): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|(others, _)| !others.is_disjoint(&keys));
            groups = apart;
            let mut joined = (keys, vec![index]);
            for (keys, members) in shared {
                joined.0.extend(keys);
                joined.1.extend(members);
            }
            groups.push(joined);
        }
        groups.into_iter().map(|(_, members)| members).collect()
    }

    fn judge_group(&self, group: &[usize], found: &Sums, now: Timestamp) -> Vec<Finding> {
        let entries: Vec<&Entry> = group.iter().filter_map(|index| self.entries.get(*index)).collect();
        if let Some(until) = self.shown(&entries).filter(|until| *until > now) {
            return vec![Finding::Waiting(until); entries.len()];
        }
        let equations = self.equations(&entries, found);
        let explains = |choice: &u64| equations.iter().all(|equation| equation.holds(*choice));
        let Some(choice) = choices(entries.len()).filter(explains).max_by_key(|choice| choice.count_ones())
        else {
            return vec![Finding::Undecided(difference(&equations)); entries.len()];
        };
        let finding = |(call, entry): (usize, &&Entry)| {
            // Zeros change no sum, whether they were added before or not.
            let zeros = entry.call.datums.iter().all(|datum| datum.value == 0.0);
            if is_chosen(choice, call) && !zeros { Finding::Added } else { Finding::Missing }
        };
        entries.iter().enumerate().map(finding).collect()
    }

    /// When everything that was added to the windows of these calls is shown.
    fn shown(&self, entries: &[&Entry]) -> Option<Timestamp> {
        let own = entries.iter().map(|entry| shown(entry));
        let datums = entries.iter().flat_map(|entry| &entry.call.datums);
        let others = datums.filter_map(|datum| self.shown.get(&key(datum)));
        own.chain(others.copied()).max()
    }

    fn equations(&self, entries: &[&Entry], found: &Sums) -> Vec<Equation> {
        let mut equations: BTreeMap<Key, Equation> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            for datum in &entry.call.datums {
                let key = key(datum);
                let done = self.done.get(&key).copied().unwrap_or_default();
                let found = found.get(&key).copied().unwrap_or_default();
                let new = || Equation { key: key.clone(), done, found, values: vec![0.0; entries.len()] };
                let equation = equations.entry(key.clone()).or_insert_with(new);
                if let Some(value) = equation.values.get_mut(index) {
                    *value += datum.value;
                }
            }
        }
        equations.into_values().collect()
    }
}

/// The sum of one series and window.
struct Equation {
    key: Key,
    done: f64,
    found: f64,
    /// What each call in doubt would add.
    values: Vec<f64>,
}

impl Equation {
    /// Whether the chosen calls explain the sum.
    fn holds(&self, choice: u64) -> bool {
        let values = self.values.iter().enumerate();
        let added: f64 = values.filter(|(call, _)| is_chosen(choice, *call)).map(|(_, value)| value).sum();
        equal(self.found, self.done + added)
    }
}

/// Choices among so many calls: a bit each.
fn choices(calls: usize) -> impl Iterator<Item = u64> {
    let (every, extremes) =
        if calls <= TOGETHER { (1 << calls, [None, None]) } else { (0, [Some(0), Some(u64::MAX)]) };
    (0..every).chain(extremes.into_iter().flatten())
}

fn is_chosen(choice: u64, call: usize) -> bool {
    choice >> (call % 64) & 1 == 1
}

/// The first sum that no choice explains; the first of all where they only contradict each other.
fn difference(equations: &[Equation]) -> Option<Difference> {
    let calls = equations.first().map_or(0, |equation| equation.values.len());
    let is_wrong = |equation: &&Equation| !choices(calls).any(|choice| equation.holds(choice));
    equations.iter().find(is_wrong).or(equations.first()).map(|equation| Difference {
        series: equation.key.0.clone(),
        timestamp: equation.key.1,
        done: equation.done,
        in_doubt: equation.values.iter().sum(),
        found: equation.found,
    })
}

/// When CloudWatch shows all of a call.
pub(super) fn shown(entry: &Entry) -> Timestamp {
    let oldest = entry.call.datums.iter().map(|datum| datum.timestamp).min().unwrap_or(entry.head.at);
    let age = entry.head.at.millis_since(oldest);
    let wait = SHOWN_MS.into_iter().find(|(younger, _)| age < *younger).map_or(0, |(_, wait)| wait);
    entry.head.at.plus_millis(wait)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backend::aws::{call::Call, entries::Head};

    /// 2027-01-15T08:00:00Z
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const SENT: Timestamp = NOW.plus_millis(-HOUR_MS);

    fn series(number: usize) -> Series {
        Series { name: "RequestCount".to_owned(), dimensions: vec![("A".to_owned(), number.to_string())] }
    }

    /// A call with these values of the series 0, 1, ...; `None`: without that series.
    fn entry(key: usize, state: State, values: &[Option<u32>]) -> Entry {
        let datum = |(number, value): (usize, &Option<u32>)| {
            value.map(|value| Datum { series: series(number), timestamp: SENT, value: f64::from(value) })
        };
        let datums = values.iter().enumerate().filter_map(datum).collect();
        let head =
            Head { key: key.to_string(), state, attempt: 1, at: SENT, worker: String::new(), parcels: 1 };
        Entry { head, call: Call { datums, ..Call::default() }, reason: String::new(), pipeline: None }
    }

    fn add(sums: &mut Sums, entry: &Entry) {
        for datum in &entry.call.datums {
            *sums.entry(key(datum)).or_default() += datum.value;
        }
    }

    fn judge(entries: Vec<Entry>, others: &[Entry], found: &Sums) -> Vec<(Entry, Finding)> {
        let mut doubt = Doubt::new(entries);
        for other in others {
            doubt.add(other);
        }
        doubt.judge(found, NOW)
    }

    #[test]
    fn a_sum_that_nothing_explains_is_shown() {
        let found = Sums::from([((series(0), SENT), 9.0)]);
        let others = [entry(1, State::Done, &[Some(3)])];
        let judged = judge(vec![entry(0, State::Doubt, &[Some(4), Some(1)])], &others, &found);
        let Finding::Undecided(Some(difference)) = &judged[0].1 else { panic!("{judged:?}") };
        assert_eq!((difference.done, difference.in_doubt, difference.found), (3.0, 4.0, 9.0));
    }

    #[test]
    fn zeros_are_sent_again() {
        let judged = judge(vec![entry(0, State::Doubt, &[Some(0)])], &[], &Sums::new());
        assert_eq!(judged[0].1, Finding::Missing);
    }

    #[test]
    fn what_may_not_be_shown_yet_is_waited_for() {
        let waits = |window_ms: i64, state| {
            let mut other = entry(1, state, &[Some(1)]);
            let mut own = entry(0, State::Doubt, &[Some(1)]);
            own.call.datums[0].timestamp = SENT.plus_millis(-window_ms);
            other.call.datums[0].timestamp = SENT.plus_millis(-window_ms);
            other.head.at = SENT.plus_millis(60_000);
            let found = Sums::from([((series(0), SENT.plus_millis(-window_ms)), 1.0)]);
            match judge(vec![own], &[other], &found).remove(0).1 {
                Finding::Waiting(until) => Some(until.millis_since(SENT) / 60_000),
                _ => None,
            }
        };
        assert_eq!(waits(2 * HOUR_MS, State::Done), None, "shown five minutes later");
        assert_eq!(waits(3 * HOUR_MS, State::Done), Some(4 * 60 + 1));
        assert_eq!(waits(24 * HOUR_MS, State::Claimed), Some(72 * 60 + 1));
    }

    #[test]
    fn of_many_calls_all_or_none_are_seen() {
        let entries: Vec<Entry> = (0..70).map(|n| entry(n, State::Doubt, &[Some(1)])).collect();
        let found = |sum: f64| Sums::from([((series(0), SENT), sum)]);
        let all =
            |sum, finding| judge(entries.clone(), &[], &found(sum)).iter().all(|(_, one)| *one == finding);
        assert!(all(70.0, Finding::Added));
        assert!(all(0.0, Finding::Missing));
        assert!(!all(69.0, Finding::Added) && !all(69.0, Finding::Missing));
    }

    fn values() -> impl Strategy<Value = Vec<Option<u32>>> {
        prop::collection::vec(prop::option::of(0_u32..4), 5)
    }

    proptest! {
        /// Whatever was added, sending what is found missing makes every sum right.
        #[test]
        fn the_sums_come_right(
            calls in prop::collection::vec((values(), any::<bool>()), 1..8),
            others in prop::collection::vec(values(), 0..4),
        ) {
            let others: Vec<Entry> =
                others.iter().enumerate().map(|(n, values)| entry(n + 100, State::Done, values)).collect();
            let (mut found, mut wanted) = (Sums::new(), Sums::new());
            for other in &others {
                add(&mut found, other);
                add(&mut wanted, other);
            }
            let mut entries = Vec::new();
            for (number, (values, added)) in calls.iter().enumerate() {
                let call = entry(number, State::Doubt, values);
                if *added {
                    add(&mut found, &call);
                }
                add(&mut wanted, &call);
                entries.push(call);
            }
            for (call, finding) in judge(entries, &others, &found) {
                match finding {
                    Finding::Missing => add(&mut found, &call),
                    finding => prop_assert_eq!(finding, Finding::Added),
                }
            }
            // Of two calls that differ in zeros alone either may be taken for the one that was added.
            found.retain(|_, sum| *sum != 0.0);
            wanted.retain(|_, sum| *sum != 0.0);
            prop_assert_eq!(found, wanted);
        }
    }
}
