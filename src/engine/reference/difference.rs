//! What a newer reference file changes, for the log. Keeps a bounded sample of hosts.

use std::fmt;

use crate::engine::{
    reference::{Owner, Reference, Resolution, sample::Sample},
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
        for (host, resolution) in older.hosts.iter() {
            let now = newer.hosts.get(host);
            difference.note((older, Some(resolution)), (newer, now), || text(host));
        }
        for (host, resolution) in newer.hosts.iter() {
            if older.hosts.get(host).is_none() {
                difference.note((older, None), (newer, Some(resolution)), || text(host));
            }
        }
        for (block, resolution) in older.blocks.iter() {
            let now = newer.blocks.get(block);
            difference.note((older, Some(resolution)), (newer, now), || block.to_string());
        }
        for (block, resolution) in newer.blocks.iter() {
            if older.blocks.get(block).is_none() {
                difference.note((older, None), (newer, Some(resolution)), || block.to_string());
            }
        }
        difference
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

fn text(host: &[u8]) -> String {
    String::from_utf8_lossy(host).into_owned()
}

/// Who owned the host from when on, by its own rows.
fn owners(of: &Reference, resolution: Resolution) -> impl Iterator<Item = (Timestamp, Option<&Owner>)> {
    let (always, steps) = match resolution {
        Resolution::Unowned => (Some(None), &[][..]),
        Resolution::Owned(owner) => (Some(Some(owner)), &[][..]),
        Resolution::ByTime(index) => (None, of.timelines.steps(index)),
    };
    let always = always.into_iter().map(|owner| (Timestamp::MIN, owner));
    let steps = steps.iter().map(|step| (step.from, step.owner));
    let owner = |index: u32| of.owners.get(index as usize);
    always.chain(steps).map(move |(from, index)| (from, index.and_then(owner)))
}
