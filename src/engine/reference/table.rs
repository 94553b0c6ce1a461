//! A hash table that is built all at once from things sorted by hash, in the memory where they are. Knows no hosts.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;

/// Slots for each thing. Fewer make the table smaller, and look-ups look at more of them.
const ROOM: usize = 2;

/// What a table holds.
pub(super) trait Slot: Copy {
    /// A slot that holds nothing.
    const EMPTY: Self;

    /// Whether it holds nothing.
    fn is_empty(&self) -> bool;
}

/// Things, each in the slot that its hash chooses, its home, or in the first free one before it. Homes are in the order of
/// the hashes, and so are things. The seed is fixed so that the same file gives the same table everywhere; who can choose
/// keys is who edits the reference data, not who is logged.
#[derive(Clone, Debug)]
pub(super) struct Table<T> {
    slots: Vec<T>,
    /// How many slots, the last ones, are homes.
    homes: usize,
    things: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), homes: 0, things: 0 }
    }
}

impl<T: Slot> Table<T> {
    /// Of things with these hashes, from low to high.
    pub(super) fn of(things: Vec<T>, hashes: &[u32]) -> Self {
        let (mut slots, count, homes) = (things, hashes.len(), hashes.len() * ROOM);
        // With so many slots before the homes, no thing moves towards the beginning.
        let too_low = (0..).zip(hashes).map(|(index, &hash)| usize::saturating_sub(index, home(hash, homes)));
        let before = too_low.max().unwrap_or(0);
        slots.reserve_exact((before + homes).saturating_sub(slots.len()));
        slots.resize(before + homes, T::EMPTY);
        slots.shrink_to_fit();
        let mut taken = slots.len();
        for (index, &hash) in hashes.iter().enumerate().rev() {
            taken = (before + home(hash, homes)).min(taken - 1);
            slots.swap(index, taken);
        }
        Self { slots, homes, things: count }
    }

    /// The first thing with this hash that `is` what is looked for.
    #[inline]
    pub(super) fn find(&self, hash: u32, is: impl Fn(&T) -> bool) -> Option<&T> {
        let before = self.slots.len() - self.homes;
        let from_home = self.slots.get(..=before + home(hash, self.homes))?.iter().rev();
        from_home.take_while(|slot| !slot.is_empty()).find(|slot| is(slot))
    }

    /// Every thing, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter(|slot| !slot.is_empty())
    }

    /// How many things there are.
    pub(super) fn len(&self) -> usize {
        self.things
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.slots.capacity() * size_of::<T>()
    }
}

/// 32 bits, of which both ends are good.
#[inline]
pub(super) fn hash(key: impl Hash) -> u32 {
    const HASHER: FixedState = FixedState::with_seed(0);
    let hash = HASHER.hash_one(key);
    (hash >> 32) as u32
}

#[inline]
fn home(hash: u32, homes: usize) -> usize {
    ((u64::from(hash) * homes as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Slot for Option<u32> {
        const EMPTY: Self = None;

        fn is_empty(&self) -> bool {
            self.is_none()
        }
    }

    fn table(mut hashes: Vec<u32>) -> Table<Option<u32>> {
        hashes.sort_unstable();
        Table::of((0..).map(Some).take(hashes.len()).collect(), &hashes)
    }

    /// The index of each hash is found under it, and nothing under others.
    fn assert_found(mut hashes: Vec<u32>) {
        let table = table(hashes.clone());
        hashes.sort_unstable();
        assert_eq!(table.len(), hashes.len());
        assert_eq!(table.iter().count(), hashes.len());
        for (index, &hash) in (0..).zip(&hashes) {
            assert_eq!(table.find(hash, |&slot| slot == Some(index)), Some(&Some(index)));
            for other in [hash.wrapping_sub(1), hash.wrapping_add(1), !hash, 0, u32::MAX] {
                assert_eq!(table.find(other, |_| false), None);
            }
        }
    }

    #[test]
    fn things_are_near_their_homes() {
        assert_eq!(Table::<Option<u32>>::default().find(7, |_| true), None);
        for count in [1, 2, 3, 1_000, 100_000_u32] {
            let mut hashes: Vec<u32> = (0..count).map(hash).collect();
            hashes.sort_unstable();
            let looks = std::cell::Cell::new(0);
            let table = table(hashes.clone());
            for (index, &hash) in (0..).zip(&hashes) {
                table.find(hash, |&slot| {
                    looks.set(looks.get() + 1);
                    slot == Some(index)
                });
            }
            assert!(looks.get() <= 2 * count, "{} of {count}", looks.get());
            assert!(table.slots.len() <= ROOM * hashes.len() + 100);
            assert_found(hashes);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_hashes_each_is_found(
            low in prop::collection::vec(0..9_u32, 0..40),
            any in prop::collection::vec(any::<u32>(), 0..40),
            high in prop::collection::vec(u32::MAX - 9.., 0..40),
        ) {
            assert_found([low, any, high].concat());
        }
    }
}
