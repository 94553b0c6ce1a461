//! A hash table from the addresses of one address space to their owners. Knows no names and no blocks.

use std::net::IpAddr;

use crate::engine::reference::{
    Resolution,
    bits::Bits,
    entry::{self, Entry},
    history::History,
    table::{self, Table, hash},
    tag::Tag,
};

/// Addresses and their owners.
#[derive(Clone, Debug)]
pub(super) struct Addresses<K> {
    table: Table<Slot<K>>,
}

#[derive(Clone, Copy, Debug)]
struct Slot<K> {
    key: K,
    tag: Tag,
}

impl<K: Bits> table::Slot for Slot<K> {
    const EMPTY: Self = Self { key: K::ZERO, tag: Tag::NONE };

    #[inline]
    fn is_empty(&self) -> bool {
        self.tag.is_none()
    }
}

impl<K> Default for Addresses<K> {
    fn default() -> Self {
        Self { table: Table::default() }
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
        let hashes: Vec<u32> = rows.iter().map(|row| hash(row.key)).collect();
        // The standard library turns the one vector into the other in its place.
        let slots = rows.into_iter().map(|Entry { key, tag, .. }| Slot { key, tag }).collect();
        Self { table: Table::of(slots, &hashes) }
    }

    /// What the rows of this address say.
    #[inline]
    pub(super) fn get(&self, address: K) -> Option<Resolution> {
        self.table.find(hash(address), |slot| slot.key == address).map(|slot| slot.tag.resolution())
    }

    /// Every address and what it resolves to, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, Resolution)> {
        self.table.iter().map(|slot| (slot.key, slot.tag.resolution()))
    }

    /// How many addresses there are.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.table.held()
    }
}
