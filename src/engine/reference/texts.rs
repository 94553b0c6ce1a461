//! Hosts by their text, as logs mostly have them: one look-up, and nothing is read. Only for files of few hosts, since
//! the text takes several times what the other tables do.
//!
//! It is not needed to find a host. An address takes longer to read than a small table takes to be looked up in:
//! `resolve` in `benches/parse.rs`.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::engine::reference::Resolution;

/// The most hosts that are kept by their text: of a file with more, none is.
pub(super) const MAX_TEXTS: usize = 1 << 17;

/// Canonical texts, one behind the other, and whom they resolve to. The seed is fixed so that the same file gives the
/// same table everywhere; who can choose keys is who edits the reference data, not who is logged.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    text: Vec<u8>,
    entries: HashTable<Entry>,
    hasher: FixedState,
}

/// Where the text is, which has at most 253 bytes, and what it resolves to.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    length: u8,
    resolution: Resolution,
}

impl Texts {
    /// Of so many hosts, each of them once.
    pub(super) fn of(count: usize, hosts: impl Iterator<Item = (String, Resolution)>) -> Self {
        let mut texts = Self::default();
        if count > MAX_TEXTS {
            return texts;
        }
        texts.entries.reserve(count, |_| 0);
        for (host, resolution) in hosts {
            texts.add(host.as_bytes(), resolution);
        }
        texts.text.shrink_to_fit();
        texts
    }

    /// What `host` resolves to; `None` says nothing.
    #[inline]
    pub(super) fn get(&self, host: &[u8]) -> Option<Resolution> {
        if self.entries.is_empty() {
            return None;
        }
        let found = self.entries.find(self.hasher.hash_one(host), |entry| entry.text(&self.text) == host);
        found.map(|entry| entry.resolution)
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.text.capacity() + self.entries.allocation_size()
    }

    fn add(&mut self, host: &[u8], resolution: Resolution) {
        let (Ok(start), Ok(length)) = (u32::try_from(self.text.len()), u8::try_from(host.len())) else {
            return; // not so long is any host, nor are all together
        };
        self.text.extend_from_slice(host);
        let (text, hasher) = (&self.text, &self.hasher);
        let entry = Entry { start, length, resolution };
        self.entries.insert_unique(hasher.hash_one(host), entry, |entry| hasher.hash_one(entry.text(text)));
    }
}

impl Entry {
    #[inline]
    fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        text.get(start..start + usize::from(self.length)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(count: u32) -> Texts {
        let hosts = (0..count).map(|n| (format!("host{n}"), Resolution::ByTime(n)));
        Texts::of(count as usize, hosts)
    }

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let table = texts(10_000);
        for n in 0..10_000 {
            assert_eq!(table.get(format!("host{n}").as_bytes()), Some(Resolution::ByTime(n)));
        }
        for other in ["host", "host10000", "Host1", ""] {
            assert_eq!(table.get(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Texts::default().get(b""), None);
    }

    #[test]
    fn of_many_hosts_none_is_kept() {
        let most = u32::try_from(MAX_TEXTS).unwrap();
        let table = texts(most);
        assert_eq!(table.get(b"host7"), Some(Resolution::ByTime(7)));
        assert!(table.held() < 7 << 20, "{} bytes", table.held());
        assert_eq!(texts(most + 1).held(), 0);
    }
}
