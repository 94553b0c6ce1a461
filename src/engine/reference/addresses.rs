//! A hash table from the addresses of one address space to their owners. Knows no names and no blocks.

use std::net::IpAddr;

use crate::engine::reference::{
    Resolution,
    bits::Bits,
    directory::{Directory, hash},
    entry::{self, Entry},
    history::History,
    tag::Tag,
};

/// Addresses and their owners, those of one hash behind one another.
#[derive(Clone, Debug)]
pub(super) struct Addresses<K> {
    directory: Directory,
    slots: Vec<Slot<K>>,
}

#[derive(Clone, Copy, Debug)]
struct Slot<K> {
    key: K,
    tag: Tag,
}

impl<K> Default for Addresses<K> {
    fn default() -> Self {
        Self { directory: Directory::default(), slots: Vec::new() }
    }
}

impl<K: Bits> Addresses<K> {
    /// Of all rows that give an address; `around` is what the blocks around one say.
    pub(super) fn settle(
        mut rows: Vec<Entry<K>>,
        history: &mut History,
        around: impl Fn(IpAddr) -> Resolution,
    ) -> Self {
        let order = |row: &Entry<K>| (hash(row.key), row.key);
        entry::settle(
            &mut rows,
            |left, right| order(left).cmp(&order(right)),
            |_, rows| {
                let address = |key: &K| key.address();
                (history.settle(rows, |key| address(key).to_string(), |key| around(address(key))), 0)
            },
        );
        let directory = Directory::of(rows.iter().map(|row| hash(row.key)));
        // The standard library turns the one vector into the other in its place.
        let slot = |Entry { key, tag, .. }| Slot { key, tag };
        let mut slots: Vec<Slot<K>> = rows.into_iter().map(slot).collect();
        slots.shrink_to_fit();
        Self { directory, slots }
    }

    /// What the rows of this address say.
    #[inline]
    pub(super) fn get(&self, address: K) -> Option<Resolution> {
        let found = self.directory.find(&self.slots, hash(address), |slot| slot.key == address);
        found.map(|slot| slot.tag.resolution())
    }

    /// Every address and what it resolves to, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, Resolution)> {
        self.slots.iter().map(|slot| (slot.key, slot.tag.resolution()))
    }

    /// How many addresses there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
