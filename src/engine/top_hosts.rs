//! The heaviest unknown hosts in bounded memory: a mergeable Misra-Gries summary. Never guesses upwards.
//!
//! Up to [`CAPACITY`] hosts survive a pruning, which subtracts the count of the heaviest host that does not fit from
//! all (Agarwal et al., "Mergeable Summaries", PODS 2012). So every count is a lower bound, short by at most
//! [`TopHosts::error`], and `error ≤ requests / (CAPACITY + 1)`. The result depends on the counts merged and their
//! grouping, not on any order of hashing.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::engine::{gather::HostCounts, row::HostCount};

/// How many hosts a window keeps.
pub const CAPACITY: usize = 1_024;

/// Counts by host, bounded at merges.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TopHosts {
    counts: HashMap<Vec<u8>, u64, FixedState>,
    error: u64,
}

impl TopHosts {
    /// Adds what was gathered, then prunes.
    pub fn absorb(&mut self, hosts: &HostCounts) {
        for (host, requests) in hosts.iter() {
            *self.counts.entry_ref(host).or_default() += requests;
        }
        if self.counts.len() > 2 * CAPACITY {
            self.prune();
        }
    }

    /// By how much a count may be short.
    #[must_use]
    pub fn error(&self) -> u64 {
        self.error
    }

    /// How many hosts are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// No host.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The `most` heaviest hosts, heaviest first, equals by name.
    #[must_use]
    pub fn heaviest(&self, most: usize) -> Vec<HostCount> {
        let mut hosts: Vec<(&[u8], u64)> =
            self.counts.iter().map(|(host, &count)| (host.as_slice(), count)).collect();
        hosts.sort_unstable_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
        hosts.truncate(most);
        let named = |(host, count): (&[u8], u64)| HostCount {
            host: String::from_utf8_lossy(host).into_owned(),
            count,
            error: self.error,
        };
        hosts.into_iter().map(named).collect()
    }

    fn prune(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let (_, &mut spill, _) = counts.select_nth_unstable_by(CAPACITY, |a, b| b.cmp(a));
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(spill);
            *count > 0
        });
        self.counts.shrink_to(2 * CAPACITY);
        self.error += spill;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(hosts: impl IntoIterator<Item = u32>) -> HostCounts {
        let mut block = HostCounts::default();
        for host in hosts {
            block.add(host.to_string(), 1);
        }
        block
    }

    #[test]
    fn a_million_hosts_stay_bounded_and_the_heavy_ones_are_found() {
        let mut window = TopHosts::default();
        for n in 0..250_u32 {
            // 4,000 hosts seen once, and two that call in every block.
            window.absorb(&block((0..4_000).map(|i| 1_000 + n * 4_000 + i).chain([1; 90]).chain([2; 30])));
            assert!(window.counts.len() <= 2 * CAPACITY);
        }
        let heaviest = window.heaviest(2);
        let (first, second) = (&heaviest[0], &heaviest[1]);
        assert_eq!((first.host.as_str(), second.host.as_str()), ("1", "2"));
        assert!(first.count <= 22_500 && first.count + first.error >= 22_500, "{first:?}");
        assert!(second.count <= 7_500 && second.count + second.error >= 7_500, "{second:?}");
        assert!(window.error() <= (250 * 4_120) / (CAPACITY as u64 + 1));
    }

    #[test]
    fn few_hosts_are_exact_and_ties_are_ordered_by_name() {
        let mut window = TopHosts::default();
        window.absorb(&block([3, 1, 2, 1]));
        window.absorb(&block([2, 9]));
        let found: Vec<_> = window.heaviest(10).into_iter().map(|h| (h.host, h.count, h.error)).collect();
        let exact = [("1", 2), ("2", 2), ("3", 1), ("9", 1)].map(|(h, n)| (h.to_owned(), n, 0));
        assert_eq!(found, exact);
    }
}
