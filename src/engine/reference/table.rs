//! A hash table from canonical host text to a value, all text in one buffer. Knows no rows and no time.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table::Entry as Place};

/// Host text to value. The seed is fixed so that the same file gives the same table everywhere; who can choose keys is
/// who edits the reference data, not who is logged.
#[derive(Clone, Debug)]
pub(super) struct HostTable<V> {
    text: Vec<u8>,
    entries: HashTable<Entry<V>>,
    hasher: FixedState,
}

/// Host names have at most 253 bytes and rows are bounded, so the offset fits.
#[derive(Clone, Debug)]
struct Entry<V> {
    start: u32,
    length: u8,
    value: V,
}

impl<V> Default for HostTable<V> {
    fn default() -> Self {
        Self { text: Vec::new(), entries: HashTable::new(), hasher: FixedState::default() }
    }
}

impl<V: Copy> HostTable<V> {
    /// The value of `host`: one look-up.
    #[inline]
    pub(super) fn get(&self, host: &[u8]) -> Option<V> {
        self.entries
            .find(self.hasher.hash_one(host), |entry| entry.text(&self.text) == host)
            .map(|entry| entry.value)
    }

    /// Sets the value of `host`, and returns the one it had. A host over 255 bytes, which the grammar of hosts does
    /// not allow, would be ignored.
    pub(super) fn insert(&mut self, host: &[u8], value: V) -> Option<V> {
        let (Ok(start), Ok(length)) = (u32::try_from(self.text.len()), u8::try_from(host.len())) else {
            return None;
        };
        let (text, hasher) = (&self.text, &self.hasher);
        let place = self.entries.entry(
            hasher.hash_one(host),
            |entry| entry.text(text) == host,
            |entry| hasher.hash_one(entry.text(text)),
        );
        match place {
            Place::Occupied(mut occupied) => Some(std::mem::replace(&mut occupied.get_mut().value, value)),
            Place::Vacant(vacant) => {
                vacant.insert(Entry { start, length, value });
                self.text.extend_from_slice(host);
                None
            }
        }
    }

    /// The same hosts with other values.
    pub(super) fn map<W>(mut self, mut value: impl FnMut(&[u8], V) -> W) -> HostTable<W> {
        let mut entries = HashTable::with_capacity(self.entries.len());
        for entry in self.entries {
            let text = entry.text(&self.text);
            let mapped = Entry { start: entry.start, length: entry.length, value: value(text, entry.value) };
            entries.insert_unique(self.hasher.hash_one(text), mapped, |entry: &Entry<W>| {
                self.hasher.hash_one(entry.text(&self.text))
            });
        }
        self.text.shrink_to_fit();
        HostTable { text: self.text, entries, hasher: self.hasher }
    }

    /// Every host and its value, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], V)> {
        self.entries.iter().map(|entry| (entry.text(&self.text), entry.value))
    }

    /// How many hosts there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<V> Entry<V> {
    #[inline]
    fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        text.get(start..start + usize::from(self.length)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_what_was_put_in_last() {
        let mut table = HostTable::default();
        for round in [1, 2] {
            for n in 0..10_000_u32 {
                let was = table.insert(format!("host{n}").as_bytes(), n * round);
                assert_eq!(was, (round == 2).then_some(n));
            }
        }
        assert_eq!(table.len(), 10_000);
        let table = table.map(|text, n| (text.len(), n + 1));
        for n in 0..10_000_u32 {
            let host = format!("host{n}");
            assert_eq!(table.get(host.as_bytes()), Some((host.len(), n * 2 + 1)));
        }
        assert_eq!(table.get(b"host"), None);
        assert_eq!(table.get(b""), None);
        assert_eq!(table.iter().count(), 10_000);
    }
}
