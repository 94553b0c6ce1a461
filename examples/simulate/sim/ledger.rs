//! The ledger of calls to the metrics, as `backend::aws` keeps it: claims, and what became of them. Sends nothing.

use std::collections::BTreeMap;

use logtally::{backend::Datum, engine::time::Timestamp};

/// How long a claim may stand before it is taken for dead, in milliseconds ...
const STALE_MS: i64 = 60_000;
/// ... for a call is not sent that was claimed longer ago than this.
const FRESH_MS: i64 = STALE_MS / 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Claimed,
    Done,
    Doubt,
}

/// A call as the ledger has it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) standing: Standing,
    pub(crate) at: Timestamp,
    pub(crate) datums: Vec<Datum>,
    /// How often the metrics took it, which only reading them back shows.
    pub(crate) added: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) calls: BTreeMap<u64, Call>,
    /// By the id of a parcel: its call.
    pub(crate) parcels: BTreeMap<String, u64>,
}

impl Call {
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        now.millis_since(self.at).saturating_abs() > STALE_MS
    }
}

pub(crate) fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    now.millis_since(at).saturating_abs() <= FRESH_MS
}

impl Ledger {
    /// Claims the call for these parcels, all or none; else those that were claimed before.
    pub(crate) fn claim(&mut self, key: u64, at: Timestamp, parcels: &[(String, Vec<Datum>)]) -> Vec<String> {
        let known = parcels
            .iter()
            .map(|(id, _)| id)
            .filter(|id| self.parcels.get(*id).is_some_and(|&call| call != key));
        let known: Vec<String> = known.cloned().collect();
        if known.is_empty() {
            let datums = parcels.iter().flat_map(|(_, datums)| datums.clone()).collect();
            let call = Call { standing: Standing::Claimed, at, datums, added: 0 };
            self.calls.entry(key).or_insert(call);
            self.parcels.extend(parcels.iter().map(|(id, _)| (id.clone(), key)));
        }
        known
    }

    /// Gives back a claim that was certainly not sent, if it still stands.
    pub(crate) fn release(&mut self, key: u64) {
        if self.calls.get(&key).is_some_and(|call| call.standing == Standing::Claimed) {
            self.calls.remove(&key);
            self.parcels.retain(|_, call| *call != key);
        }
    }

    pub(crate) fn enter(&mut self, key: u64, standing: Standing) {
        if let Some(call) = self.calls.get_mut(&key) {
            call.standing = standing;
        }
    }
}
