//! What was counted in each window, and published of it: entered by itself, so that tallies and rows can be held against
//! it. Holds no tally, and closes no window.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::{state::State, time::Timestamp};

/// How many windows that hold nothing any more are kept apart: four hours of five minutes. Those that were begun before
/// are joined, beside which windows that hold requests are kept apart always; their tallies are larger.
pub const APART: usize = 48;
/// How many stretches of time are remembered in which windows were joined; past it the two that are closest become one.
pub const STRETCHES: usize = 4;
/// To the minute it is remembered since when a window is counted in.
const MINUTE_MS: i64 = 60_000;

/// Requests counted, and published in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// Counted in the windows.
    pub counted: u64,
    /// In rows.
    pub published: u64,
}

/// The entry of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// What was entered.
    pub posted: Posted,
    /// How far the shard was complete when the first request was entered, to the minute: no row of the window is older.
    pub since: Timestamp,
}

/// The entries of one shard, of all its epochs. A new epoch knows of the earlier ones what they published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Journal {
    pages: BTreeMap<Timestamp, Page>,
    joined: Posted,
    /// First and last start of windows that were joined, and perhaps of others between them; ascending.
    stretches: Vec<(Timestamp, Timestamp)>,
}

impl std::ops::AddAssign for Posted {
    fn add_assign(&mut self, Self { counted, published }: Self) {
        // Whoever damages a state may have entered anything.
        self.counted = self.counted.saturating_add(counted);
        self.published = self.published.saturating_add(published);
    }
}

impl Journal {
    /// Enters requests that were counted in the window that starts at `start`; the shard is complete to `now`.
    pub fn count(&mut self, start: Timestamp, requests: u64, now: Timestamp) {
        self.page(start, now).posted += Posted { counted: requests, published: 0 };
    }

    /// Enters requests of rows of the window that starts at `start`.
    pub fn publish(&mut self, start: Timestamp, requests: u64) {
        // Of what was never counted nobody knows since when.
        self.page(start, Timestamp::MIN).posted += Posted { counted: 0, published: requests };
    }

    fn page(&mut self, start: Timestamp, now: Timestamp) -> &mut Page {
        let since = to_the_minute(now);
        self.pages.entry(start).or_insert(Page { posted: Posted::default(), since })
    }

    /// Joins all but the last [`APART`] of the windows that hold nothing.
    pub fn join(&mut self, holds: impl Fn(Timestamp) -> bool) {
        if self.pages.len() <= APART {
            return;
        }
        let idle = self.pages.iter().filter(|&(&start, _)| !holds(start));
        let mut idle: Vec<(Timestamp, Timestamp)> = idle.map(|(&start, page)| (page.since, start)).collect();
        idle.sort_unstable();
        idle.truncate(idle.len().saturating_sub(APART));
        for (_, start) in idle {
            self.joined += self.pages.remove(&start).map(|page| page.posted).unwrap_or_default();
            self.stretch(start);
        }
    }

    fn stretch(&mut self, start: Timestamp) {
        let index = self.stretches.partition_point(|&(_, last)| last < start);
        if self.stretches.get(index).is_some_and(|&(first, _)| first <= start) {
            return;
        }
        self.stretches.insert(index, (start, start));
        if self.stretches.len() > STRETCHES {
            let gap = |pair: &[(Timestamp, Timestamp)]| match pair {
                [(_, last), (first, _)] => first.millis_since(*last),
                _ => i64::MAX,
            };
            let closest = self.stretches.windows(2).enumerate().min_by_key(|(_, pair)| gap(pair));
            if let Some((index, _)) = closest {
                let (_, last) = self.stretches.remove(index + 1);
                if let Some(stretch) = self.stretches.get_mut(index) {
                    stretch.1 = last;
                }
            }
        }
    }

    /// Whether the entry of this window, if there is one, is all that was ever entered for it.
    #[must_use]
    pub fn is_whole(&self, start: Timestamp) -> bool {
        self.stretches.iter().all(|&(first, last)| start < first || last < start)
    }

    /// The windows that are kept apart, by their start.
    pub fn pages(&self) -> impl DoubleEndedIterator<Item = (Timestamp, &Page)> {
        self.pages.iter().map(|(&start, page)| (start, page))
    }

    /// What was entered for the windows that were joined. They held nothing: all of it was published.
    #[must_use]
    pub const fn joined(&self) -> Posted {
        self.joined
    }

    /// What was entered for all windows.
    #[must_use]
    pub fn sum(&self) -> Posted {
        let mut sum = self.joined;
        self.pages.values().for_each(|page| sum += page.posted);
        sum
    }

    /// As a new epoch begins with it: of the earlier ones counts what they published.
    #[must_use]
    pub fn of_earlier_epochs(mut self) -> Self {
        let posted = self.pages.values_mut().map(|page| &mut page.posted).chain([&mut self.joined]);
        posted.for_each(|posted| posted.counted = posted.published);
        self
    }

    /// The journal of a state that was written before there was one: only what its windows hold is known apart.
    pub(crate) fn before(state: &State) -> Self {
        let mut journal = Self::default();
        for (start, tally) in state.open.iter().chain(state.late.iter()) {
            let requests = tally.cells.values().fold(0_u64, |sum, cell| sum.saturating_add(cell.count));
            journal.count(start, requests, Timestamp::MIN);
        }
        let State { counters, published, published_before, span, .. } = state;
        let counted = counters.counted.saturating_add(*published_before);
        journal.joined = Posted {
            counted: counted.saturating_sub(journal.sum().counted),
            published: published.saturating_add(*published_before),
        };
        // Where earlier epochs counted is not known.
        let always = (Timestamp::MIN, Timestamp::MAX);
        journal.stretches = if *published_before > 0 { vec![always] } else { span.iter().copied().collect() };
        journal
    }
}

fn to_the_minute(time: Timestamp) -> Timestamp {
    time.plus_millis(-time.as_millis().rem_euclid(MINUTE_MS))
}

/// As a cut keeps it: each window by what it differs in from the one before, which is little.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// Milliseconds from start to start, requests counted, those of them not published, minutes from `since` to start.
    pages: Vec<(i64, u64, u64, i64)>,
    joined: Posted,
    stretches: Vec<(Timestamp, Timestamp)>,
}

impl From<Journal> for Stored {
    fn from(journal: Journal) -> Self {
        let mut before = 0;
        let page = |(start, Page { posted, since }): (Timestamp, Page)| {
            let (start, Posted { counted, published }) = (start.as_millis(), posted);
            let minutes = start.div_euclid(MINUTE_MS).wrapping_sub(since.as_millis().div_euclid(MINUTE_MS));
            let step = start.wrapping_sub(std::mem::replace(&mut before, start));
            (step, counted, counted.wrapping_sub(published), minutes)
        };
        let Journal { pages, joined, stretches } = journal;
        Self { pages: pages.into_iter().map(page).collect(), joined, stretches }
    }
}

impl From<Stored> for Journal {
    fn from(Stored { pages, joined, stretches }: Stored) -> Self {
        let mut start = 0_i64;
        let page = |(step, counted, held, minutes): (i64, u64, u64, i64)| {
            start = start.wrapping_add(step);
            let since = start.div_euclid(MINUTE_MS).wrapping_sub(minutes).saturating_mul(MINUTE_MS);
            let since = to_the_minute(Timestamp::from_millis(since));
            let posted = Posted { counted, published: counted.wrapping_sub(held) };
            (Timestamp::from_millis(start), Page { posted, since })
        };
        Self { pages: pages.into_iter().map(page).collect(), joined, stretches }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        gather::Counts,
        tally::{Cell, Key},
        time::WindowSize,
    };

    const SIZE_MS: i64 = 300_000;
    const NOON: i64 = 1_800_000_000_000;

    fn at(window: usize) -> Timestamp {
        Timestamp::from_millis(NOON + i64::try_from(window).unwrap() * SIZE_MS)
    }

    /// Counted and published, window by window, as they come; of the last of them half is held.
    fn journal(windows: usize) -> Journal {
        let mut journal = Journal::default();
        for window in 0..windows {
            journal.count(at(window), 2_000, at(window).plus_millis(7_123));
            journal.publish(at(window), if window + 1 == windows { 1_000 } else { 2_000 });
            journal.join(|start| start == at(windows - 1));
        }
        journal
    }

    #[test]
    fn past_the_bound_windows_that_hold_nothing_are_joined_and_the_sums_stay() {
        let journal = journal(APART + 31);
        assert_eq!(journal.pages().count(), APART + 1, "and the one that holds requests");
        assert_eq!(journal.joined(), Posted { counted: 30 * 2_000, published: 30 * 2_000 });
        let counted = (APART as u64 + 31) * 2_000;
        assert_eq!(journal.sum(), Posted { counted, published: counted - 1_000 });
        assert!(!journal.is_whole(at(29)) && journal.is_whole(at(30)));
        assert_eq!(journal.stretches.len(), STRETCHES);
    }

    #[test]
    fn windows_that_hold_requests_are_never_joined() {
        let mut journal = Journal::default();
        for window in 0..10 * APART {
            journal.count(at(window), 1, at(0));
            journal.join(|_| true);
        }
        assert_eq!((journal.pages().count(), journal.joined()), (10 * APART, Posted::default()));
    }

    #[test]
    fn a_window_that_comes_back_after_it_was_joined_is_known_in_part() {
        let mut journal = journal(APART + 31);
        journal.count(at(3), 5, at(90));
        let page = journal.pages().next().unwrap();
        assert_eq!((page.0, page.1.posted), (at(3), Posted { counted: 5, published: 0 }));
        assert!(!journal.is_whole(at(3)));
        assert_eq!(journal.joined().counted, 30 * 2_000);
    }

    #[test]
    fn one_wrong_clock_leaves_the_other_windows_whole() {
        let mut journal = Journal::default();
        for window in 0..10 * APART {
            // A day in some years' time, in between.
            for start in [at(window), at(window % APART + 1_000_000)] {
                journal.count(start, 1, at(window));
                journal.publish(start, 1);
            }
            journal.join(|_| false);
        }
        assert!((9 * APART + 30..10 * APART).all(|window| journal.is_whole(at(window))));
        assert!(journal.is_whole(at(20_000)) && !journal.is_whole(at(1_000_000)));
    }

    #[test]
    fn it_comes_back_from_a_cut_and_is_small() {
        let mut journal = journal(1_000);
        journal.count(Timestamp::MIN, 1, Timestamp::MIN);
        journal.publish(Timestamp::MAX, u64::MAX);
        let bytes = postcard::to_stdvec(&journal).unwrap();
        assert_eq!(postcard::from_bytes::<Journal>(&bytes).unwrap(), journal);
        assert!(bytes.len() < 12 * (APART + 3), "{} bytes", bytes.len());
    }

    #[test]
    fn a_new_epoch_knows_of_the_earlier_ones_what_they_published() {
        let journal = journal(2).of_earlier_epochs();
        assert_eq!(journal.sum(), Posted { counted: 3_000, published: 3_000 });
    }

    #[test]
    fn of_a_state_without_a_journal_what_its_windows_hold_is_known_apart() {
        let mut state = State::new(WindowSize::FIVE_MINUTES);
        let key = Key { owner: 0, response: 200 };
        let counts = Counts { cells: vec![(key, Cell { count: 4, bytes: 1 })], ..Counts::default() };
        state.open.starting(at(9)).absorb(&counts, |owner| owner);
        state.late.starting(at(2)).absorb(&counts, |owner| owner);
        (state.counters.read, state.counters.counted, state.published) = (30, 30, 22);
        state.span = Some((at(0), at(9)));
        state.journal = Journal::before(&state);
        assert!(state.balances());
        assert_eq!(state.journal.joined(), Posted { counted: 22, published: 22 });
        assert!(
            !state.journal.is_whole(at(0))
                && !state.journal.is_whole(at(9))
                && state.journal.is_whole(at(10))
        );
        state.published_before = 7;
        state.journal = Journal::before(&state);
        assert!(
            state.balances() && !state.journal.is_whole(at(10)),
            "an earlier epoch may have counted there"
        );
    }
}
