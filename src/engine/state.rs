//! What a checkpoint holds of an engine: open windows, provenance and books. Holds no settings and no cache.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::{
    applications::Applications,
    counters::Counters,
    journal::{Journal, Posted},
    producers::Producers,
    samples::Samples,
    seen::Seen,
    tally::Windows,
    time::{Timestamp, WindowSize},
};

/// The state of one shard's engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The size of the windows below.
    pub window: WindowSize,
    /// The number of the last cut that published rows; 0 before the first.
    pub cut: u64,
    /// How far the reader said that the shard is complete.
    pub complete_to: Timestamp,
    /// Every window that starts before this is closed.
    pub closed_to: Timestamp,
    /// Windows still to be published on time.
    pub open: Windows,
    /// Corrections being gathered.
    pub late: Windows,
    /// Since when the oldest correction waits.
    pub late_since: Option<Timestamp>,
    /// The owners that the windows name.
    pub applications: Applications,
    /// What producers sent already.
    pub seen: Seen,
    /// Which producers are alive.
    pub producers: Producers,
    /// The books since the epoch began.
    pub counters: Counters,
    /// The books when the last health row was published.
    pub reported: Counters,
    /// Requests published in rows since the epoch began.
    pub published: u64,
    /// Requests published in rows of earlier epochs.
    pub published_before: u64,
    /// Starts of the first and the last window that a line was counted in since the epoch began.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Malformed lines to show.
    pub samples: Samples,
    /// Largest lag since the last health row, in milliseconds.
    pub lag_ms: u64,
    /// What was counted in each window and published of it. A cut keeps it behind everything else.
    #[serde(skip)]
    pub journal: Journal,
}

impl State {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(window: WindowSize) -> Self {
        Self {
            window,
            cut: 0,
            complete_to: Timestamp::MIN,
            closed_to: Timestamp::MIN,
            open: Windows::default(),
            late: Windows::default(),
            late_since: None,
            applications: Applications::default(),
            seen: Seen::default(),
            producers: Producers::default(),
            counters: Counters::default(),
            reported: Counters::default(),
            published: 0,
            published_before: 0,
            span: None,
            samples: Samples::default(),
            lag_ms: 0,
            journal: Journal::default(),
        }
    }

    /// What a shard inherits of a parent that was read to its end: the provenance, and nothing else.
    pub fn inherit(&mut self, parent: &Self) {
        self.seen.absorb(parent.seen.clone());
        self.producers.absorb(parent.producers.clone());
    }

    /// Whether the books balance: every line in one counter, and every counted line published or in a window, of all
    /// windows and of each.
    #[must_use]
    pub fn balances(&self) -> bool {
        let held = self.open.requests() + self.late.requests();
        self.counters.balance() && self.counters.counted == self.published + held && self.windows_balance()
    }

    /// Whether the journal says of every window what its tallies say, and of all windows what the counters say.
    fn windows_balance(&self) -> bool {
        let mut held: BTreeMap<Timestamp, u64> = BTreeMap::new();
        for (start, tally) in self.open.iter().chain(self.late.iter()) {
            *held.entry(start).or_default() += tally.requests();
        }
        let is_published = |Posted { counted, published }, held| counted == published + held;
        let of_windows = self
            .journal
            .pages()
            .all(|(start, page)| is_published(page.posted, held.remove(&start).unwrap_or_default()));
        let Posted { counted, published } = self.journal.sum();
        of_windows
            && held.is_empty()
            && is_published(self.journal.joined(), 0)
            && counted == self.counters.counted + self.published_before
            && published == self.published + self.published_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        gather::Counts,
        journal::APART,
        tally::{Cell, Key},
    };

    fn at(window: usize) -> Timestamp {
        Timestamp::from_millis(i64::try_from(window).unwrap() * 300_000)
    }

    /// Three requests published in each of many windows, and four held in one.
    fn state() -> State {
        let mut state = State::new(WindowSize::FIVE_MINUTES);
        let windows = APART + 2;
        for window in 0..windows {
            state.journal.count(at(window), 3, at(window));
            state.journal.publish(at(window), 3);
        }
        let cell = (Key { owner: 0, response: 200 }, Cell { count: 4, bytes: 0 });
        state
            .open
            .starting(at(windows))
            .absorb(&Counts { cells: vec![cell], ..Counts::default() }, |owner| owner);
        state.journal.count(at(windows), 4, at(windows));
        let State { journal, open, .. } = &mut state;
        journal.join(|start| open.holds(start));
        state.published = 3 * windows as u64;
        (state.counters.read, state.counters.counted) = (state.published + 4, state.published + 4);
        state
    }

    #[test]
    fn a_line_that_was_read_and_is_in_no_counter_is_found_though_the_windows_are_right() {
        let mut state = state();
        state.counters.read += 1;
        assert!(!state.balances());
    }

    #[test]
    fn a_window_that_differs_from_its_second_count_is_found_though_the_sums_are_right() {
        assert!(state().balances());
        let wrong = |change: &dyn Fn(&mut State)| {
            let mut state = state();
            change(&mut state);
            assert!(state.counters.balance(), "that is not what is changed");
            assert!(!state.balances());
        };
        // A tally in another window, and rows of another.
        wrong(&|state| {
            let tally = state.open.take_all().remove(0).1;
            *state.open.starting(at(7)) = tally;
        });
        wrong(&|state| {
            state.journal.publish(at(APART), 2);
            state.published += 2;
            state.counters.read += 2;
            state.counters.counted += 2;
            state.journal.count(at(APART + 1), 2, at(0));
        });
        // Of those that were joined less was published than counted.
        wrong(&|state| {
            state.journal.count(at(0), 5, Timestamp::MIN);
            state.journal.join(|start| start == at(APART + 2));
            state.journal.publish(at(APART + 1), 5);
            state.published += 5;
            state.counters.read += 5;
            state.counters.counted += 5;
            state.late.starting(at(APART + 1));
        });
        wrong(&|state| state.published_before += 1);
    }
}
