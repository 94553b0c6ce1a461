//! Tallies to rows of one cut, with their ids, in one order. Decides not when.

use std::{collections::BTreeSet, fmt::Write};

use crate::engine::{
    applications::Applications,
    row::{Health, Origin, Output, Row, UNKNOWN},
    tally::{Key, Tally, UNOWNED},
    time::{Timestamp, WindowSize},
};

/// Collects the rows of one cut.
#[derive(Debug)]
pub(crate) struct Publication<'a> {
    /// What the ids of its rows begin with.
    ids: String,
    window: WindowSize,
    applications: &'a Applications,
    top_hosts: usize,
    pub(crate) rows: Vec<Output>,
}

impl<'a> Publication<'a> {
    /// The cut number `number` of `origin`, without rows. Names at most `top_hosts` unknown hosts a window.
    pub(crate) fn new(
        (origin, number): (&Origin, u64),
        window: WindowSize,
        applications: &'a Applications,
        top_hosts: usize,
    ) -> Self {
        Self { ids: format!("{origin}/{number}/"), window, applications, top_hosts, rows: Vec::new() }
    }

    /// The rows of one window, by application, contact and response. `revision` is 0 on time.
    pub(crate) fn window(&mut self, start: Timestamp, tally: &Tally, revision: u64) {
        let mut keys: Vec<Key> = tally.cells.keys().copied().collect();
        let order = |key: &Key| (self.applications.get(key.owner), key.response);
        keys.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
        let mut hosts = tally.hosts.heaviest(self.top_hosts);
        for key in keys {
            let cell = tally.cells.get(&key).copied().unwrap_or_default();
            let (application, contact) = self.applications.get(key.owner);
            let mut row = self.row(start, application, contact);
            row.revision = revision;
            row.response = (key.response != 0).then_some(key.response);
            row.response_count = cell.count;
            row.bytes = cell.bytes;
            if key.owner == UNOWNED {
                row.top_hosts = std::mem::take(&mut hosts);
            }
            self.rows.push(row.into());
        }
    }

    /// A row of zero for every application of `expected` and for unknown hosts that `tally` has none of.
    pub(crate) fn zeros<'e>(
        &mut self,
        start: Timestamp,
        tally: Option<&Tally>,
        expected: impl Iterator<Item = &'e str>,
    ) {
        let owners = tally.into_iter().flat_map(|tally| tally.cells.keys());
        let found: BTreeSet<&str> = owners.map(|key| self.applications.get(key.owner).0).collect();
        for application in expected.chain([UNKNOWN]).filter(|application| !found.contains(application)) {
            let row = self.row(start, application, "");
            self.rows.push(row.into());
        }
    }

    /// The books of one shard over one window.
    pub(crate) fn health(&mut self, health: Health) {
        let health =
            Health { row_id: self.next_id(), window_end: self.window.end_of(health.window_start), ..health };
        self.rows.push(health.into());
    }

    fn row(&self, start: Timestamp, application: &str, contact: &str) -> Row {
        Row {
            row_id: self.next_id(),
            window_start: start,
            window_end: self.window.end_of(start),
            revision: 0,
            application_name: application.to_owned(),
            contact: contact.to_owned(),
            response: None,
            response_count: 0,
            bytes: 0,
            top_hosts: Vec::new(),
        }
    }

    fn next_id(&self) -> String {
        let mut id = self.ids.clone();
        // A string takes all.
        let _ = write!(id, "{}", self.rows.len());
        id
    }
}
