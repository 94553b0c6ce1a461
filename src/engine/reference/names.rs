//! A hash table from host names to their owners, all names in one buffer. Knows no addresses.
//!
//! Many hosts share a domain: a name is kept as what stands before its first dot and the number of the rest. Only who
//! puts a name in asks for that number; who looks one up compares it with both parts.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::FixedState;

use crate::engine::reference::{
    Resolution,
    entry::{self, Entry},
    history::History,
    table::{self, Table, hash},
    tag::Tag,
};

/// Domains that are kept apart from the names in them; names in further ones are kept whole.
const MAX_DOMAINS: usize = u16::MAX as usize;

/// Bytes that the names of most files have at most, but for their domains.
const TEXT: usize = 64 << 20;

/// The last bits of a hash, kept beside each name; the first ones choose its home.
const HASH_BITS: u32 = (1 << Tag::SPARE_BITS) - 1;

/// Names and their owners.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    text: Text,
    table: Table<Slot>,
}

/// Where the name is, whose it is and the last bits of its hash.
#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u32,
    tag: Tag,
}

impl table::Slot for Slot {
    const EMPTY: Self = Self { start: 0, tag: Tag::NONE };

    #[inline]
    fn is_empty(&self) -> bool {
        self.tag.is_none()
    }
}

impl Names {
    /// What the rows of this name say, given in canonical form.
    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> Option<Resolution> {
        let hash = hash(name);
        let is = |slot: &Slot| slot.tag.spare() == hash & HASH_BITS && self.text.is(slot.start, name);
        self.table.find(hash, is).map(|slot| slot.tag.resolution())
    }

    /// Every name and what it resolves to, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (String, Resolution)> {
        self.table.iter().map(|slot| (self.text.whole(slot.start), slot.tag.resolution()))
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.table.held() + self.text.held()
    }
}

/// The rows that give a name.
#[derive(Debug, Default)]
pub(super) struct NameRows {
    text: Text,
    numbers: HashMap<Arc<str>, u16, FixedState>,
    rows: Vec<Entry<Key>>,
}

/// A name, and its hash so that sorting hardly ever looks at the text.
#[derive(Clone, Copy, Debug)]
struct Key {
    hash: u32,
    start: u32,
}

impl NameRows {
    /// Adds a row of `name`, given in canonical form.
    pub(super) fn add(&mut self, name: &str, tag: Tag, line: u32) {
        let (head, domain) = name.split_at(name.find('.').unwrap_or(name.len()));
        let start = match self.number(domain) {
            0 => self.text.push(name, 0),
            number => self.text.push(head, number),
        };
        entry::push(&mut self.rows, Entry { key: Key { hash: hash(name.as_bytes()), start }, tag, line });
    }

    /// The number of a domain, dot included. Of none it is 0, and of those that find no room, now or later.
    fn number(&mut self, domain: &str) -> u16 {
        if let Some(&number) = self.numbers.get(domain) {
            return number;
        }
        let domains = &mut self.text.domains;
        if domain.is_empty() || domains.len() >= MAX_DOMAINS {
            return 0;
        }
        let domain: Arc<str> = domain.into();
        domains.push(Arc::clone(&domain));
        let number = u16::try_from(domains.len()).unwrap_or(0);
        self.numbers.insert(domain, number);
        number
    }

    /// How many rows there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes that are written, but for the domains.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.text.heads.len() + self.rows.len() * size_of::<Entry<Key>>()
    }

    /// One slot of each name.
    pub(super) fn settle(self, history: &mut History) -> Names {
        let Self { mut text, mut rows, numbers } = self;
        drop(numbers);
        entry::settle(
            &mut rows,
            |left, right| {
                let (left, right) = (left.key, right.key);
                left.hash.cmp(&right.hash).then_with(|| text.entry(left.start).cmp(&text.entry(right.start)))
            },
            |_, rows| (history.settle(rows, |key| text.whole(key.start), |_| Resolution::Unowned), 0),
        );
        let hashes: Vec<u32> = rows.iter().map(|row| row.key.hash).collect();
        // The standard library turns the one vector into the other in its place.
        let slot = |Entry { key: Key { hash, start }, tag, .. }| Slot {
            start,
            tag: tag.with_spare(hash & HASH_BITS),
        };
        let slots = rows.into_iter().map(slot).collect();
        text.heads.shrink_to_fit();
        Names { text, table: Table::of(slots, &hashes) }
    }
}

/// Names, one behind the other.
#[derive(Clone, Debug, Default)]
struct Text {
    /// Of each name: the number of its domain in two bytes, the length of its head in one, its head.
    heads: Vec<u8>,
    /// Domains with their dot, from number 1 on.
    domains: Vec<Arc<str>>,
}

impl Text {
    /// Puts a name in, and returns where it is. Names have at most 253 bytes, and all of a file fit 32 bits.
    fn push(&mut self, head: &str, domain: u16) -> u32 {
        let start = u32::try_from(self.heads.len()).unwrap_or(u32::MAX);
        entry::make_room(&mut self.heads, TEXT);
        let [low, high] = domain.to_le_bytes();
        self.heads.extend_from_slice(&[low, high, u8::try_from(head.len()).unwrap_or(u8::MAX)]);
        self.heads.extend_from_slice(head.as_bytes());
        start
    }

    /// The number of the domain, and the head: equal for equal names.
    #[inline]
    fn entry(&self, start: u32) -> (u16, &[u8]) {
        match self.heads.get(start as usize..) {
            Some([low, high, length, rest @ ..]) => {
                (u16::from_le_bytes([*low, *high]), rest.get(..usize::from(*length)).unwrap_or_default())
            }
            _ => (0, &[]),
        }
    }

    #[inline]
    fn parts(&self, start: u32) -> (&[u8], &[u8]) {
        let (domain, head) = self.entry(start);
        let domain = usize::from(domain).checked_sub(1).and_then(|index| self.domains.get(index));
        (head, domain.map_or(&[], |domain| domain.as_bytes()))
    }

    #[inline]
    fn is(&self, start: u32, name: &[u8]) -> bool {
        let (head, domain) = self.parts(start);
        name.split_at_checked(head.len()) == Some((head, domain))
    }

    fn whole(&self, start: u32) -> String {
        let (head, domain) = self.parts(start);
        String::from_utf8_lossy(&[head, domain].concat()).into_owned()
    }

    /// Bytes that are taken; of each domain also the two counters in front of it.
    #[cfg(test)]
    fn held(&self) -> usize {
        let domain = |domain: &Arc<str>| size_of_val(domain) + 2 * size_of::<usize>() + domain.len();
        self.heads.capacity() + self.domains.iter().map(domain).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rows: impl Iterator<Item = String>) -> Names {
        let mut names = NameRows::default();
        for (index, name) in (0..).zip(rows) {
            names.add(&name, Tag::new(index, false), index);
        }
        names.settle(&mut History::default())
    }

    #[test]
    fn the_last_row_of_a_name_is_found_and_no_other() {
        let name = |n: u32| match n % 4 {
            0 => format!("h{n}"),
            1 => format!("h{n}.example.org"),
            2 => format!("h{n}.d{}.example.org", n % 1_000),
            _ => format!("h.d{n}.example.org"),
        };
        let table = names((0..2).flat_map(|_| (0..10_000).map(name)));
        assert_eq!(table.len(), 10_000);
        for n in 0..10_000 {
            assert_eq!(table.get(name(n).as_bytes()), Some(Resolution::Owned(10_000 + n)), "{n}");
            assert_eq!(table.get(format!("{}x", name(n)).as_bytes()), None);
            assert_eq!(table.get(name(n + 10_000).as_bytes()), None);
        }
        let mut all: Vec<String> = table.iter().map(|(name, _)| name).collect();
        let mut expected: Vec<String> = (0..10_000).map(name).collect();
        all.sort_unstable();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }

    #[test]
    fn names_in_more_domains_than_are_numbered_are_found_as_well() {
        let count = u32::try_from(MAX_DOMAINS).unwrap() + 1_000;
        let name = |n: u32| format!("h.d{n}.org");
        let table = names((0..2).flat_map(|_| (0..count).map(name)));
        assert_eq!((table.len(), table.text.domains.len()), (count as usize, MAX_DOMAINS));
        for n in 0..count {
            assert_eq!(table.get(name(n).as_bytes()), Some(Resolution::Owned(count + n)), "{n}");
        }
        assert_eq!(table.get(name(count).as_bytes()), None);
    }
}
