//! The owners that windows name, by number: survives a reload of the reference data. Joins nothing.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use crate::engine::{reference::Owner, row::UNKNOWN, tally::UNOWNED};

/// Owners by number, as the tallies of a shard name them. One that no tally names has no number, however large the
/// reference data are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Applications {
    owners: Vec<(String, String)>,
    /// The numbers by their owners. Empty where this was read from a cut: then it is only asked for names.
    #[serde(skip)]
    index: HashTable<u32>,
}

impl Applications {
    /// The application and the contact behind a number.
    #[must_use]
    pub fn get(&self, owner: u32) -> (&str, &str) {
        let known = self.owners.get(owner as usize).filter(|_| owner != UNOWNED);
        known.map_or((UNKNOWN, ""), |(application, contact)| (application, contact))
    }

    /// How many owners have a number.
    #[must_use]
    pub fn named(&self) -> usize {
        self.owners.len()
    }

    /// The number of an owner, who gets one if need be.
    pub fn number(&mut self, owner: &Owner) -> u32 {
        self.entry(&owner.application, &owner.contact)
    }

    /// The number here of what `old` calls `owner`.
    pub fn adopt(&mut self, old: &Self, owner: u32) -> u32 {
        match old.owners.get(owner as usize) {
            Some((application, contact)) => self.entry(application, contact),
            None => UNOWNED,
        }
    }

    fn entry(&mut self, application: &str, contact: &str) -> u32 {
        let Self { owners, index } = self;
        let is_it = |&number: &u32| {
            owners
                .get(number as usize)
                .is_some_and(|known| (known.0.as_str(), known.1.as_str()) == (application, contact))
        };
        let hash = hash(application, contact);
        if let Some(&number) = index.find(hash, is_it) {
            return number;
        }
        let number = u32::try_from(owners.len()).unwrap_or(UNOWNED);
        owners.push((application.to_owned(), contact.to_owned()));
        index.insert_unique(hash, number, |&number| {
            owners.get(number as usize).map_or(0, |(application, contact)| self::hash(application, contact))
        });
        number
    }
}

fn hash(application: &str, contact: &str) -> u64 {
    FixedState::default().hash_one((application, contact))
}
