//! The counters of one window, and the windows of one block or shard. Knows no application by name.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::engine::{gather::Counts, time::Timestamp, top_hosts::TopHosts};

/// The owner under which hosts that nobody owns are counted.
pub const UNOWNED: u32 = u32::MAX;

/// What is counted apart: an owner's number and a response status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Index of the owner, or [`UNOWNED`].
    pub owner: u32,
    /// The response status, 0 where the log has `-`.
    pub response: u16,
}

/// Requests and bytes under one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Requests.
    pub count: u64,
    /// Bytes of the responses; saturating.
    pub bytes: u64,
}

/// The counters of one window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// By owner and response.
    pub cells: HashMap<Key, Cell, FixedState>,
    /// The heaviest hosts among the [`UNOWNED`].
    pub hosts: TopHosts,
}

impl Tally {
    /// Requests under all keys.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.cells.values().map(|cell| cell.count).sum()
    }

    /// How many counters this holds: keys and hosts.
    #[must_use]
    pub fn counters(&self) -> usize {
        self.cells.len() + self.hosts.len()
    }

    /// Adds what was gathered, its owners renumbered.
    pub fn absorb(&mut self, counts: &Counts, mut renumber: impl FnMut(u32) -> u32) {
        for &(key, theirs) in &counts.cells {
            let cell = self.cells.entry(Key { owner: renumber(key.owner), ..key }).or_default();
            cell.count += theirs.count;
            cell.bytes = cell.bytes.saturating_add(theirs.bytes);
        }
        self.hosts.absorb(&counts.hosts);
    }
}

/// Tallies by start of window, in that order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Windows {
    slots: Vec<(Timestamp, Tally)>,
}

impl Windows {
    /// The tally of the window that starts at `start`.
    pub fn starting(&mut self, start: Timestamp) -> &mut Tally {
        let index = self.find(start);
        #[expect(clippy::indexing_slicing, reason = "find returns an index that exists")]
        &mut self.slots[index].1
    }

    fn find(&mut self, start: Timestamp) -> usize {
        match self.slots.binary_search_by_key(&start, |&(start, _)| start) {
            Ok(index) => index,
            Err(index) => {
                self.slots.insert(index, (start, Tally::default()));
                index
            }
        }
    }

    /// Whether there is a tally of the window that starts at `start`.
    #[must_use]
    pub fn holds(&self, start: Timestamp) -> bool {
        self.slots.binary_search_by_key(&start, |&(start, _)| start).is_ok()
    }

    /// Takes out every window that starts before `before`, oldest first.
    pub fn take_before(&mut self, before: Timestamp) -> Vec<(Timestamp, Tally)> {
        let count = self.slots.partition_point(|&(start, _)| start < before);
        self.slots.drain(..count).collect()
    }

    /// Takes out the oldest windows, until they make at least `rows` rows.
    pub fn take_first(&mut self, rows: usize) -> Vec<(Timestamp, Tally)> {
        let mut sum = 0;
        let enough = |(_, tally): &(Timestamp, Tally)| {
            let before = sum;
            sum += tally.cells.len();
            before >= rows
        };
        let count = self.slots.iter().position(enough).unwrap_or(self.slots.len());
        self.slots.drain(..count).collect()
    }

    /// Takes out every window, oldest first.
    pub fn take_all(&mut self) -> Vec<(Timestamp, Tally)> {
        std::mem::take(&mut self.slots)
    }

    /// The windows, oldest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Timestamp, &Tally)> {
        self.slots.iter().map(|(start, tally)| (*start, tally))
    }

    /// How many windows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// No window.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Requests in all windows.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.slots.iter().map(|(_, tally)| tally.requests()).sum()
    }

    /// How many counters the windows hold: keys and hosts.
    #[must_use]
    pub fn counters(&self) -> usize {
        self.slots.iter().map(|(_, tally)| tally.counters()).sum()
    }

    /// Gives every owner another number; `renumber` is asked once an owner.
    pub fn renumber(&mut self, mut renumber: impl FnMut(u32) -> u32) {
        let mut known: HashMap<u32, u32, FixedState> = HashMap::default();
        for (_, tally) in &mut self.slots {
            for (key, cell) in std::mem::take(&mut tally.cells) {
                let owner = *known.entry(key.owner).or_insert_with(|| renumber(key.owner));
                tally.cells.insert(Key { owner, ..key }, cell);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { owner: 0, response: 200 };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn counts(bytes: &[u64]) -> Counts {
        let cell = |&bytes: &u64| (KEY, Cell { count: 1, bytes });
        Counts { cells: bytes.iter().map(cell).collect(), ..Counts::default() }
    }

    #[test]
    fn windows_stand_in_order() {
        let mut windows = Windows::default();
        for millis in [600_000, -300_000, 0, 0, 600_000, 300_000] {
            windows.starting(at(millis)).absorb(&counts(&[10]), |owner| owner);
        }
        let found: Vec<_> =
            windows.iter().map(|(start, tally)| (start.as_millis(), tally.requests())).collect();
        assert_eq!(found, [(-300_000, 1), (0, 2), (300_000, 1), (600_000, 2)]);
        assert_eq!(windows.take_before(at(300_000)).len(), 2);
        windows.starting(at(0)).absorb(&counts(&[1]), |owner| owner);
        assert_eq!(windows.requests(), 4);
    }

    #[test]
    fn bytes_saturate() {
        let mut sum = Tally::default();
        sum.absorb(&counts(&[u64::MAX, 1]), |owner| owner + 7);
        assert_eq!(sum.cells.get(&Key { owner: 7, ..KEY }), Some(&Cell { count: 2, bytes: u64::MAX }));
    }
}
