//! A count of many things and the first few of them in order. Forgets the rest.

use std::collections::BTreeSet;

/// Things kept of each sample; further ones are only counted.
pub(super) const SAMPLE: usize = 20;

/// How many there were, and the [`SAMPLE`] least of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample<T> {
    pub(super) total: u64,
    pub(super) kept: BTreeSet<T>,
}

impl<T> Default for Sample<T> {
    fn default() -> Self {
        Self { total: 0, kept: BTreeSet::new() }
    }
}

impl<T: Ord> Sample<T> {
    pub(super) fn add(&mut self, thing: T) {
        self.total += 1;
        if self.kept.len() >= SAMPLE && self.kept.last().is_some_and(|last| *last <= thing) {
            return;
        }
        self.kept.insert(thing);
        if self.kept.len() > SAMPLE {
            self.kept.pop_last();
        }
    }
}
