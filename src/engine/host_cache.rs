//! Hosts repeat: a small cache in front of the join, which also counts the hosts that nobody owns. Joins nothing itself.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use crate::engine::{gather::HostCounts, reference::Resolution};

/// A cache of resolutions, with two slots for each set of hosts. Longer hosts than a slot holds pass it by.
#[derive(Debug)]
pub(crate) struct HostCache {
    sets: Vec<[Slot; 2]>,
    /// Sets in which a slot counts; some of them twice.
    counting: Vec<usize>,
    hasher: FixedState,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: Key,
    resolution: Resolution,
    /// Requests that were counted here and not handed on yet.
    requests: u32,
}

/// A host with zeros behind it; no host holds a zero. No array, for those are compared by a call.
type Key = (u128, u128, u128);

/// Holds every textual address and most names; makes a slot 64 bytes.
pub(crate) const HOST_BYTES: usize = 48;
const SETS: usize = 2_048;

/// Where a host is while it is the last that was resolved: in front of its set, or nowhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(Option<usize>);

impl Default for HostCache {
    fn default() -> Self {
        let empty = Slot { key: (0, 0, 0), resolution: Resolution::Unowned, requests: 0 };
        Self { sets: vec![[empty; 2]; SETS], counting: Vec::new(), hasher: FixedState::default() }
    }
}

impl HostCache {
    /// What `host` resolves to. Asks `resolve` if it does not know, and keeps its answer. `wide` is the host and what
    /// follows it in the text, where there is so much; what the cache counted of a host that it forgets goes to `counts`.
    #[inline]
    pub(crate) fn resolve(
        &mut self,
        host: &[u8],
        wide: Option<&[u8; HOST_BYTES]>,
        counts: &mut HostCounts,
        resolve: impl FnOnce() -> Option<Resolution>,
    ) -> Option<(Resolution, Place)> {
        let key = match wide {
            Some(wide) => masked(wide, host.len()),
            None => copied(host),
        };
        let Some(key) = key else {
            return Some((resolve()?, Place(None)));
        };
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u128(key.0);
        hasher.write_u128(key.1);
        hasher.write_u128(key.2);
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the set")]
        let index = hasher.finish() as usize % SETS;
        let Some([front, back]) = self.sets.get_mut(index) else {
            return Some((resolve()?, Place(None)));
        };
        if front.key != key {
            if back.key != key {
                let resolution = resolve()?;
                if back.requests > 0 {
                    counts.add(back.host(), back.requests);
                }
                *back = Slot { key, resolution, requests: 0 };
            }
            std::mem::swap(front, back);
        }
        Some((front.resolution, Place(Some(index))))
    }

    /// Counts a request of `host`, the last that was resolved and is at `place`: here, or if it is nowhere in `counts`.
    #[inline]
    pub(crate) fn count(&mut self, host: &[u8], place: Place, counts: &mut HostCounts) {
        match place.0.and_then(|index| Some((index, self.sets.get_mut(index)?))) {
            Some((index, [front, _])) => {
                if front.requests == 0 {
                    self.counting.push(index);
                }
                front.requests += 1;
            }
            None => counts.add(host, 1),
        }
    }

    /// Hands on what was counted.
    pub(crate) fn flush(&mut self, counts: &mut HostCounts) {
        for index in self.counting.drain(..) {
            for slot in self.sets.get_mut(index).into_iter().flatten() {
                counts.add(slot.host(), slot.requests);
                slot.requests = 0;
            }
        }
    }
}

impl Slot {
    fn host(&self) -> Vec<u8> {
        let (a, b, c) = self.key;
        [a, b, c].into_iter().flat_map(u128::to_le_bytes).take_while(|&byte| byte != 0).collect()
    }
}

/// The first `length` bytes of `wide`, which hold no zero.
#[inline]
fn masked(wide: &[u8; HOST_BYTES], length: usize) -> Option<Key> {
    /// All bits set, then none: from `HOST_BYTES - n` on it masks all but `n` bytes.
    const MASKS: [u8; 2 * HOST_BYTES] = {
        let mut masks = [0; 2 * HOST_BYTES];
        masks.split_at_mut(HOST_BYTES).0.copy_from_slice(&[u8::MAX; HOST_BYTES]);
        masks
    };
    if length == 0 {
        return None;
    }
    let mask = MASKS.get(HOST_BYTES.checked_sub(length)?..)?.first_chunk::<HOST_BYTES>()?;
    let (host, mask) = (words(wide), words(mask));
    Some((host.0 & mask.0, host.1 & mask.1, host.2 & mask.2))
}

/// All of `host`, if it can be told from another one with zeros behind it.
fn copied(host: &[u8]) -> Option<Key> {
    if host.is_empty() || host.contains(&0) {
        return None;
    }
    let mut wide = [0; HOST_BYTES];
    wide.get_mut(..host.len())?.copy_from_slice(host);
    Some(words(&wide))
}

#[inline]
fn words(bytes: &[u8; HOST_BYTES]) -> Key {
    let (words, _) = bytes.as_chunks::<16>();
    let word = |index: usize| words.get(index).map_or(0, |word| u128::from_le_bytes(*word));
    (word(0), word(1), word(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_cache_never_confuses_hosts() {
        let mut cache = HostCache::default();
        let mut counts = HostCounts::default();
        let host = |n: u32| format!("{}{n}", "h".repeat(n as usize % 60));
        for round in 0..2 {
            for n in 0..20_000_u32 {
                let (host, text) = (host(n), host(n) + &"x".repeat(HOST_BYTES));
                let wide = (n % 3 > 0).then(|| text.as_bytes().first_chunk().unwrap());
                let resolve = || Some(Resolution::Owned(n));
                let (found, place) = cache.resolve(host.as_bytes(), wide, &mut counts, resolve).unwrap();
                assert_eq!(found, Resolution::Owned(n), "{round}");
                cache.count(host.as_bytes(), place, &mut counts);
            }
        }
        cache.flush(&mut counts);
        let mut sums = std::collections::BTreeMap::<Vec<u8>, u64>::new();
        for (host, count) in counts.iter() {
            *sums.entry(host.to_vec()).or_default() += count;
        }
        assert_eq!(sums, (0..20_000).map(|n| (host(n).into_bytes(), 2)).collect());
        assert!(cache.resolve(b"no host", None, &mut counts, || None).is_none());
    }
}
