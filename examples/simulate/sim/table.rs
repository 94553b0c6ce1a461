//! The items of leases, what is done to one in one write, and what a look may show of it a moment later. Asks for no
//! condition: `leases` does.

use std::{collections::BTreeMap, time::Duration};

use logtally::backend::{Checkpoint, Outbox, SequenceNumber, ShardId};

/// How long a look without consistency may show what was before a write.
const STALE: Duration = Duration::from_secs(1);

/// A stage and its shard.
pub(crate) type Key = (&'static str, ShardId);

/// Every item.
#[derive(Debug, Default)]
pub(crate) struct Table {
    items: BTreeMap<Key, Item>,
    /// As each was before it was written last, and when that was.
    before: BTreeMap<Key, (Duration, Option<Item>)>,
}

impl Table {
    pub(crate) fn get(&self, key: &Key) -> Option<&Item> {
        self.items.get(key)
    }

    /// Those of `keys` that there are, as they are; or, where they were just written, as they were: so many of them.
    pub(crate) fn look(
        &self,
        now: Duration,
        keys: &[Key],
        is_stale: bool,
    ) -> (BTreeMap<ShardId, Item>, usize) {
        let (mut items, mut stale) = (BTreeMap::new(), 0);
        for key in keys {
            let before = self.before.get(key).filter(|(at, _)| is_stale && now < *at + STALE);
            let item = before.map_or_else(|| self.get(key), |(_, before)| before.as_ref());
            items.extend(item.map(|item| (key.1.clone(), item.clone())));
            stale += usize::from(before.is_some());
        }
        (items, stale)
    }

    pub(crate) fn create(&mut self, now: Duration, key: &Key) {
        if !self.items.contains_key(key) {
            self.before.insert(key.clone(), (now, None));
            self.items.insert(key.clone(), Item::default());
        }
    }

    /// Makes `change` and raises the counter.
    pub(crate) fn write(&mut self, now: Duration, key: &Key, change: &Change) {
        if let Some(item) = self.items.get_mut(key) {
            self.before.insert(key.clone(), (now, Some(item.clone())));
            item.counter += 1;
            change.make(item);
        }
    }
}

/// The item of a lease.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item {
    pub(crate) owner: Option<String>,
    pub(crate) counter: u64,
    pub(crate) ended: bool,
    pub(crate) pending: bool,
    saves: u64,
    pub(crate) position: Option<SequenceNumber>,
    cut: Vec<u8>,
}

impl Item {
    pub(crate) fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    pub(crate) fn checkpoint(&self) -> Option<(Checkpoint, Outbox)> {
        let outbox = if self.pending { Outbox::Pending } else { Outbox::Sent };
        let checkpoint =
            Checkpoint { position: self.position.clone(), state: self.cut.clone(), ended: self.ended };
        (self.saves > 0).then_some((checkpoint, outbox))
    }
}

/// What to change of an item.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Nothing but the counter.
    Renew,
    Take(String),
    Release,
    Save(Checkpoint, bool),
}

impl Change {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Renew => "renew a lease",
            Self::Take(_) => "take a lease",
            Self::Release => "release a lease",
            Self::Save(..) => "save",
        }
    }

    fn make(&self, item: &mut Item) {
        match self.clone() {
            Self::Renew => {}
            Self::Take(owner) => item.owner = Some(owner),
            Self::Release => item.owner = None,
            Self::Save(checkpoint, pending) => {
                let Checkpoint { position, state, ended } = checkpoint;
                (item.position, item.cut, item.ended, item.pending) = (position, state, ended, pending);
                item.saves += 1;
            }
        }
    }
}
