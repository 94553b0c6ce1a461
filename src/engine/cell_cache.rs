//! Keys repeat: a small cache in front of the counts of one window. Knows no window.

use crate::engine::tally::{Cell, Key};

/// A small cache in front of the cells of the current window.
#[derive(Debug)]
pub(crate) struct CellCache {
    slots: Vec<(Key, Cell)>,
    /// Slots that count.
    counting: Vec<usize>,
}

/// With 24 bytes a slot it stays in a core's nearer caches, and holds what most fleets call in one window.
const CELLS: usize = 2_048;

impl Default for CellCache {
    fn default() -> Self {
        let empty = (Key { owner: 0, response: 0 }, Cell::default());
        Self { slots: vec![empty; CELLS], counting: Vec::new() }
    }
}

impl CellCache {
    /// Counts one request; what makes room for it goes to `cells`.
    #[inline]
    pub(crate) fn add(&mut self, key: Key, bytes: u64, cells: &mut Vec<(Key, Cell)>) {
        let index = slot_of(key);
        let Some(slot) = self.slots.get_mut(index) else {
            // There is no such index; but no count may hang on that.
            cells.push((key, Cell { count: 1, bytes }));
            return;
        };
        if slot.1.count == 0 {
            self.counting.push(index);
            slot.0 = key;
        } else if slot.0 != key {
            cells.push(std::mem::replace(slot, (key, Cell::default())));
        }
        slot.1.count += 1;
        slot.1.bytes = slot.1.bytes.saturating_add(bytes);
    }

    /// Hands on what was counted.
    pub(crate) fn flush(&mut self, cells: &mut Vec<(Key, Cell)>) {
        for index in self.counting.drain(..) {
            if let Some((key, cell)) = self.slots.get_mut(index) {
                cells.push((*key, std::mem::take(cell)));
            }
        }
    }
}

/// Fibonacci hashing: the upper bits of a product with 2⁶⁴ over the golden ratio.
#[inline]
fn slot_of(Key { owner, response }: Key) -> usize {
    let key = u64::from(owner) << 16 | u64::from(response);
    #[expect(clippy::cast_possible_truncation, reason = "as many bits are left as slots need")]
    let index = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - CELLS.ilog2())) as usize;
    index
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn keys_that_share_a_slot_are_counted_apart() {
        let mut cache = CellCache::default();
        let mut cells = Vec::new();
        let keys =
            || (0..3_000).map(|n| Key { owner: n % 1_000, response: if n < 1_000 { 200 } else { 404 } });
        for _ in 0..2 {
            keys().for_each(|key| cache.add(key, u64::from(key.owner), &mut cells));
        }
        cache.flush(&mut cells);
        let mut sums = BTreeMap::<Key, Cell>::new();
        for (key, cell) in cells {
            let sum = sums.entry(key).or_default();
            sum.count += cell.count;
            sum.bytes += cell.bytes;
        }
        let expected = keys().map(|key| {
            let count = if key.response == 200 { 2 } else { 4 };
            (key, Cell { count, bytes: count * u64::from(key.owner) })
        });
        assert_eq!(sums, expected.collect());
        let mut nothing = Vec::new();
        cache.flush(&mut nothing);
        assert!(nothing.is_empty());
    }
}
