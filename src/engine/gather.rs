//! What lines came to before it is merged: counts by window, keys and hosts perhaps more than once. Joins nothing, and
//! hashes only what it must; the merge adds up.

use std::collections::BTreeMap;

use crate::engine::{
    cell_cache::CellCache,
    format::straight::Request,
    host_cache::HostCache,
    reference::Resolution,
    tally::{Cell, Key, UNOWNED},
    time::{Timestamp, WindowSize},
};

/// Requests of one window.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// By owner and response; a key may come twice.
    pub cells: Vec<(Key, Cell)>,
    /// Of the hosts that nobody owns.
    pub hosts: HostCounts,
}

impl Counts {
    /// Requests under all keys.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.cells.iter().map(|(_, cell)| cell.count).sum()
    }
}

/// Requests by host; a host may come twice.
#[derive(Clone, Debug, Default)]
pub struct HostCounts {
    /// The hosts, one behind the other.
    text: Vec<u8>,
    /// Where each ends, and its requests.
    counts: Vec<(usize, u64)>,
}

impl HostCounts {
    /// Adds `requests` of `host`.
    pub fn add(&mut self, host: impl AsRef<[u8]>, requests: u32) {
        if requests > 0 {
            self.text.extend_from_slice(host.as_ref());
            self.counts.push((self.text.len(), requests.into()));
        }
    }

    /// Hosts and their requests.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.counts.iter().scan(0, |start, &(end, requests)| {
            let host = self.text.get(std::mem::replace(start, end)..end)?;
            Some((host, requests))
        })
    }
}

/// Counts by start of window.
pub type CountsByWindow = BTreeMap<Timestamp, Counts>;

/// The start of the window that holds the median request: a measure of progress that one wrong clock cannot move.
#[must_use]
pub fn median(windows: &CountsByWindow) -> Option<Timestamp> {
    let half = windows.values().map(Counts::requests).sum::<u64>().div_ceil(2);
    let mut sum = 0;
    let found = windows.iter().find(|(_, counts)| {
        sum += counts.requests();
        sum >= half
    });
    found.map(|(&start, _)| start)
}

/// What is being gathered: the window that lines are counted in now, and caches in front of it.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    current: Current,
    hosts: HostCache,
    cells: CellCache,
}

impl Gather {
    /// Where to count what was requested at `time`.
    #[inline]
    pub(crate) fn window(
        &mut self,
        windows: &mut CountsByWindow,
        time: Timestamp,
        size: WindowSize,
    ) -> &mut Self {
        if !(self.current.start <= time && time < self.current.end) {
            self.turn(windows, time, size);
        }
        self
    }

    fn turn(&mut self, windows: &mut CountsByWindow, time: Timestamp, size: WindowSize) {
        self.flush(windows);
        let start = size.start_of(time);
        let counts = windows.remove(&start).unwrap_or_default();
        self.current = Current { start, end: size.end_of(start), counts };
    }

    /// Counts a request whose client `resolve` can resolve; `owner_at` says who owned that when it called.
    #[inline]
    pub(crate) fn add(
        &mut self,
        request: &Request<'_>,
        resolve: impl FnOnce(&[u8]) -> Option<Resolution>,
        owner_at: impl FnOnce(Resolution) -> u32,
    ) -> Option<()> {
        let &Request { client, wide, response, bytes, .. } = request;
        let Counts { cells, hosts } = &mut self.current.counts;
        let (resolution, place) = self.hosts.resolve(client, wide, hosts, || resolve(client))?;
        let owner = owner_at(resolution);
        self.cells.add(Key { owner, response: response.unwrap_or(0) }, bytes, cells);
        if owner == UNOWNED {
            self.hosts.count(client, place, hosts);
        }
        Some(())
    }

    /// Hands on all that was gathered.
    pub(crate) fn flush(&mut self, windows: &mut CountsByWindow) {
        let Current { start, mut counts, .. } = std::mem::take(&mut self.current);
        self.cells.flush(&mut counts.cells);
        self.hosts.flush(&mut counts.hosts);
        // A line that was not counted leaves no window behind.
        if !counts.cells.is_empty() {
            windows.insert(start, counts);
        }
    }
}

/// A window from `start` (inclusive) to `end` (exclusive); at first it holds no time at all.
#[derive(Debug)]
struct Current {
    start: Timestamp,
    end: Timestamp,
    counts: Counts,
}

impl Default for Current {
    fn default() -> Self {
        Self { start: Timestamp::MIN, end: Timestamp::MIN, counts: Counts::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn one(bytes: u64) -> Counts {
        let key = Key { owner: 0, response: 200 };
        Counts { cells: vec![(key, Cell { count: 1, bytes })], hosts: HostCounts::default() }
    }

    fn request(millis: i64) -> (Request<'static>, Timestamp) {
        let time = at(millis);
        (Request { client: b"a", wide: None, time: Some(time), response: None, bytes: 1 }, time)
    }

    #[test]
    fn requests_land_in_their_windows_whatever_the_order() {
        let (mut gather, mut windows) = (Gather::default(), CountsByWindow::default());
        for round in 1..3 {
            for millis in [600_000, -1, 0, 299_999, 600_001, 300_000] {
                let (request, time) = request(millis);
                let into = gather.window(&mut windows, time, WindowSize::FIVE_MINUTES);
                into.add(&request, |_| Some(Resolution::Unowned), |_| UNOWNED).unwrap();
            }
            gather.flush(&mut windows);
            let found = windows.iter().map(|(start, counts)| (start.as_millis(), counts.requests()));
            let expected = [(-300_000, round), (0, 2 * round), (300_000, round), (600_000, 2 * round)];
            assert_eq!(found.collect::<Vec<_>>(), expected);
            let hosts = windows.values().flat_map(|counts| counts.hosts.iter());
            assert_eq!(hosts.map(|(_, requests)| requests).sum::<u64>(), 6 * round);
        }
    }

    #[test]
    fn a_line_that_is_not_counted_leaves_no_window() {
        let (mut gather, mut windows) = (Gather::default(), CountsByWindow::default());
        let (request, time) = request(0);
        let into = gather.window(&mut windows, time, WindowSize::FIVE_MINUTES);
        assert!(into.add(&request, |_| None, |_| UNOWNED).is_none());
        gather.flush(&mut windows);
        assert!(windows.is_empty());
    }

    #[test]
    fn one_wrong_clock_does_not_move_the_median() {
        let mut windows = CountsByWindow::default();
        assert_eq!(median(&windows), None);
        for millis in [0, 300_000, 600_000] {
            windows.insert(at(millis), one(0));
        }
        windows.insert(at(i64::MAX), one(0));
        assert_eq!(median(&windows), Some(at(300_000)));
    }
}
