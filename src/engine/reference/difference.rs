//! What a newer reference file changes, for the log. Keeps a bounded sample of hosts.

use std::fmt;

use crate::engine::{
    reference::{
        Owner, Reference, Resolution, addresses::Addresses, bits::Bits, cidr::Blocks, host::Block,
        names::Names, sample::Sample,
    },
    time::Timestamp,
};

/// Hosts that [`Changes`] shows in a log line.
const SHOWN: usize = 5;

/// Which hosts and blocks a newer file adds, removes and gives to another owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Hosts that only the newer file has.
    pub added: Changes,
    /// Hosts that only the older file has.
    pub removed: Changes,
    /// Hosts whose rows name another application, contact or validity.
    pub moved: Changes,
}

/// Hosts of one kind of change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Sample<String>);

impl Changes {
    /// How many hosts.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.total
    }

    /// The first of them by name, 20 at most, in canonical form.
    pub fn sample(&self) -> impl Iterator<Item = &str> {
        self.0.kept.iter().map(String::as_str)
    }
}

impl Difference {
    /// Whether no host changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.count() + self.removed.count() + self.moved.count() == 0
    }

    pub(super) fn between(older: &Reference, newer: &Reference) -> Self {
        let mut difference = Self::default();
        difference.compare((older, &older.names), (newer, &newer.names));
        difference.compare((older, &older.v4), (newer, &newer.v4));
        difference.compare((older, &older.v6), (newer, &newer.v6));
        difference.compare((older, &older.blocks), (newer, &newer.blocks));
        difference
    }

    fn compare<T: Table>(&mut self, older: (&Reference, &T), newer: (&Reference, &T)) {
        for (host, was) in older.1.hosts() {
            let is = newer.1.find(&host);
            self.note((older.0, Some(was)), (newer.0, is), || T::text(&host));
        }
        for (host, is) in newer.1.hosts() {
            if older.1.find(&host).is_none() {
                self.note((older.0, None), (newer.0, Some(is)), || T::text(&host));
            }
        }
    }

    fn note(
        &mut self,
        (older, was): (&Reference, Option<Resolution>),
        (newer, is): (&Reference, Option<Resolution>),
        host: impl FnOnce() -> String,
    ) {
        match (was, is) {
            (None, None) => {}
            (None, Some(_)) => self.added.0.add(host()),
            (Some(_), None) => self.removed.0.add(host()),
            (Some(was), Some(is)) => {
                if !owners(older, was).eq(owners(newer, is)) {
                    self.moved.0.add(host());
                }
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no host changed");
        }
        write!(f, "{} added", self.added)?;
        write!(f, ", {} removed", self.removed)?;
        write!(f, ", {} moved", self.moved)
    }
}

/// `3 hosts`, as `3 (10.0.0.1, 10.0.0.2, …)`.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count())?;
        for (index, host) in self.sample().take(SHOWN).enumerate() {
            write!(f, "{}{host}", if index == 0 { " (" } else { ", " })?;
        }
        match self.count() {
            0 => Ok(()),
            count if count > SHOWN as u64 => f.write_str(", …)"),
            _ => f.write_str(")"),
        }
    }
}

/// Hosts of one kind.
trait Table {
    type Host;

    /// Every host and what it resolves to.
    fn hosts(&self) -> impl Iterator<Item = (Self::Host, Resolution)>;

    fn find(&self, host: &Self::Host) -> Option<Resolution>;

    /// The canonical form.
    fn text(host: &Self::Host) -> String;
}

impl Table for Names {
    type Host = String;

    fn hosts(&self) -> impl Iterator<Item = (String, Resolution)> {
        self.iter()
    }

    fn find(&self, host: &String) -> Option<Resolution> {
        self.get(host.as_bytes())
    }

    fn text(host: &String) -> String {
        host.clone()
    }
}

impl<K: Bits> Table for Addresses<K> {
    type Host = K;

    fn hosts(&self) -> impl Iterator<Item = (K, Resolution)> {
        self.iter()
    }

    fn find(&self, host: &K) -> Option<Resolution> {
        self.get(*host)
    }

    fn text(host: &K) -> String {
        host.address().to_string()
    }
}

impl Table for Blocks {
    type Host = Block;

    fn hosts(&self) -> impl Iterator<Item = (Block, Resolution)> {
        self.iter()
    }

    fn find(&self, host: &Block) -> Option<Resolution> {
        self.get(*host)
    }

    fn text(host: &Block) -> String {
        host.to_string()
    }
}

/// Who owned the host from when on, by its own rows.
fn owners(of: &Reference, resolution: Resolution) -> impl Iterator<Item = (Timestamp, Option<&Owner>)> {
    let (always, timeline) = match resolution {
        Resolution::Unowned => (Some(None), None),
        Resolution::Owned(owner) => (Some(Some(owner)), None),
        Resolution::ByTime(place) => (None, Some(place)),
    };
    let always = always.into_iter().map(|owner| (Timestamp::MIN, owner));
    let steps = timeline.into_iter().flat_map(|place| of.timelines.steps(place));
    let steps = steps.map(|step| (step.from, step.owner));
    let owner = |index: u32| of.owners.get(index as usize);
    always.chain(steps).map(move |(from, index)| (from, index.and_then(owner)))
}
