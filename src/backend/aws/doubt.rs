//! Which calls in doubt a metric holds, from its sums and from what is known of other calls. Asks no service.
//!
//! A call is added as a whole or not at all. For every series and window that a call in doubt holds, the sum found is
//! that of the calls that are done and of those in doubt that were added. Where only one choice of these explains
//! every sum, that is what happened.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    backend::{
        Datum, Series,
        aws::{
            entries::Entry,
            ledger::State,
            settle::Difference,
            sums::{self, Sums},
        },
    },
    engine::time::Timestamp,
};

/// Calls in doubt that share windows, and that are judged together: 2^12 choices.
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
    /// No choice, or more than one, explains the sums.
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
            return vec![Finding::Waiting(until); group.len()];
        }
        if entries.len() > TOGETHER {
            return vec![Finding::Undecided(None); group.len()];
        }
        let equations = self.equations(&entries, found);
        let explains = |choice: &u32| equations.iter().all(|equation| equation.holds(*choice));
        let choices: Vec<u32> = (0..1_u32 << entries.len()).filter(explains).collect();
        let finding = |(bit, entry): (usize, &&Entry)| {
            let added = choices.iter().filter(|choice| *choice >> bit & 1 == 1).count();
            match added {
                _ if choices.is_empty() => Finding::Undecided(difference(&equations)),
                // Adding nothing changes no sum, whether it was added before or not.
                _ if entry.call.datums.iter().all(|datum| datum.value == 0.0) => Finding::Missing,
                0 => Finding::Missing,
                all if all == choices.len() => Finding::Added,
                _ => Finding::Undecided(None),
            }
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
    /// Whether the calls whose bits are set in `choice` explain the sum.
    fn holds(&self, choice: u32) -> bool {
        let values = self.values.iter().enumerate();
        let added: f64 = values.filter(|(bit, _)| choice >> bit & 1 == 1).map(|(_, value)| value).sum();
        equal(self.found, self.done + added)
    }
}

/// The first sum that no choice explains.
fn difference(equations: &[Equation]) -> Option<Difference> {
    let calls = equations.first().map_or(0, |equation| equation.values.len());
    let is_wrong = |equation: &&Equation| !(0..1_u32 << calls).any(|choice| equation.holds(choice));
    equations.iter().find(is_wrong).map(|equation| Difference {
        series: equation.key.0.clone(),
        timestamp: equation.key.1,
        done: equation.done,
        in_doubt: equation.values.iter().sum(),
        found: equation.found,
    })
}

/// When CloudWatch shows all of a call.
fn shown(entry: &Entry) -> Timestamp {
    let oldest = entry.call.datums.iter().map(|datum| datum.timestamp).min().unwrap_or(entry.head.at);
    let age = entry.head.at.millis_since(oldest);
    let wait = SHOWN_MS.into_iter().find(|(younger, _)| age < *younger).map_or(0, |(_, wait)| wait);
    entry.head.at.plus_millis(wait)
}

/// Whether two sums are the same but for the order in which they were added up.
pub(super) fn equal(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 + 1e-12 * one.abs().max(other.abs())
}
