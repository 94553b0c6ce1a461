//! The items of leases, what is done to one in one write, and what a look may show of it a moment later. Asks for no
//! condition: `leases` does.

use std::{collections::BTreeMap, time::Duration};

use logtally::backend::{
    Checkpoint, Outbox, SequenceNumber, ShardId,
    lease::table::{Change, Item as Lease},
};

/// How long a look without consistency may show what was before a write.
const STALE: Duration = Duration::from_secs(1);

/// A stage and its shard.
pub(crate) type Key = (&'static str, ShardId);

/// A cut, and whether it holds rows that may not have been sent.
pub(crate) type Save = (Checkpoint, bool);

/// Every item.
#[derive(Debug, Default)]
pub(crate) struct Table {
    items: BTreeMap<Key, Item>,
    /// The lease of each before it was written last, and when that was.
    before: BTreeMap<Key, (Duration, Option<Lease>)>,
}

impl Table {
    pub(crate) fn get(&self, key: &Key) -> Option<&Item> {
        self.items.get(key)
    }

    /// The leases of a stage, as they are; or, where they were just written, as they were: so many of them.
    pub(crate) fn look(
        &self,
        now: Duration,
        stage: &'static str,
        is_stale: bool,
    ) -> (BTreeMap<ShardId, Lease>, usize) {
        let (mut leases, mut old) = (BTreeMap::new(), 0);
        for (key, item) in self.items.iter().filter(|(key, _)| key.0 == stage) {
            let before = self.before.get(key).filter(|(at, _)| is_stale && now < *at + STALE);
            let lease = before.map_or(Some(&item.lease), |(_, before)| before.as_ref());
            leases.extend(lease.map(|lease| (key.1.clone(), lease.clone())));
            old += usize::from(before.is_some());
        }
        (leases, old)
    }

    /// When the item was written last.
    pub(crate) fn written(&self, key: &Key) -> Option<Duration> {
        self.before.get(key).map(|(at, _)| *at)
    }

    pub(crate) fn create(&mut self, now: Duration, key: &Key) {
        if !self.items.contains_key(key) {
            self.before.insert(key.clone(), (now, None));
            self.items.insert(key.clone(), Item::default());
        }
    }

    /// Makes `change` and raises the counter.
    pub(crate) fn write(&mut self, now: Duration, key: &Key, change: &Change<Save>) {
        if let Some(item) = self.items.get_mut(key) {
            self.before.insert(key.clone(), (now, Some(item.lease.clone())));
            item.make(change);
        }
    }
}

/// The item of a lease.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item {
    pub(crate) lease: Lease,
    ended: bool,
    pending: bool,
    saves: u64,
    pub(crate) position: Option<SequenceNumber>,
    cut: Vec<u8>,
}

impl Item {
    pub(crate) fn owner(&self) -> Option<&str> {
        self.lease.owner.as_deref()
    }

    pub(crate) fn checkpoint(&self) -> Option<(Checkpoint, Outbox)> {
        let outbox = if self.pending { Outbox::Pending } else { Outbox::Sent };
        let checkpoint =
            Checkpoint { position: self.position.clone(), state: self.cut.clone(), ended: self.ended };
        (self.saves > 0).then_some((checkpoint, outbox))
    }

    fn make(&mut self, change: &Change<Save>) {
        self.lease.counter += 1;
        match change.clone() {
            Change::Renew => {}
            Change::Take(owner) => self.lease.owner = Some(owner),
            Change::Release => self.lease.owner = None,
            Change::Save((Checkpoint { position, state, ended }, pending)) => {
                (self.position, self.cut, self.ended, self.pending) = (position, state, ended, pending);
                self.lease.ended = ended && !pending;
                self.saves += 1;
            }
        }
    }
}
