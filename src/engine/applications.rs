//! The owners that open windows name, by number: survives a reload of the reference data. Joins nothing.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::engine::{reference::Reference, row::UNKNOWN, tally::UNOWNED};

/// Owners by number, as the tallies of a shard name them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applications {
    owners: Vec<(String, String)>,
}

impl Applications {
    /// The application and the contact behind a number.
    #[must_use]
    pub fn get(&self, owner: u32) -> (&str, &str) {
        let known = self.owners.get(owner as usize).filter(|_| owner != UNOWNED);
        known.map_or((UNKNOWN, ""), |(application, contact)| (application, contact))
    }

    /// Numbers every owner of `reference`: the result maps its indices to numbers here.
    pub fn number(&mut self, reference: &Reference) -> Vec<u32> {
        let mut known: HashMap<(String, String), u32> = self.owners.iter().cloned().zip(0..).collect();
        let mut numbers = Vec::with_capacity(reference.owners().len());
        for owner in reference.owners() {
            let name = (owner.application.clone(), owner.contact.clone());
            let number = *known.entry(name.clone()).or_insert_with(|| self.push(name));
            numbers.push(number);
        }
        numbers
    }

    /// The number here of what `old` calls `owner`, which is added if need be.
    pub fn adopt(&mut self, old: &Self, owner: u32) -> u32 {
        let Some(name) = old.owners.get(owner as usize) else {
            return UNOWNED;
        };
        let known = self.owners.iter().position(|known| known == name);
        known.and_then(|index| u32::try_from(index).ok()).unwrap_or_else(|| self.push(name.clone()))
    }

    fn push(&mut self, name: (String, String)) -> u32 {
        self.owners.push(name);
        u32::try_from(self.owners.len() - 1).unwrap_or(UNOWNED)
    }
}
