//! What a holder asks of the table of leases, and what it is answered. Is no table: each backend brings its own.

use std::{collections::BTreeMap, future::Future};

use crate::backend::{Result, Shard, ShardId};

/// The table of the leases of one stage: an item a shard.
pub trait Leases: Send + Sync + 'static {
    /// What is written to an item when a cut is saved.
    type Save: Clone + Send;

    /// Every item, as it is `now`, or as it was a moment ago.
    fn all(&self, now: bool) -> impl Future<Output = Result<BTreeMap<ShardId, Item>>> + Send;

    /// One item, as it is now.
    fn one(&self, shard: &ShardId) -> impl Future<Output = Result<Option<Item>>> + Send;

    /// Makes the item of a lease that nobody held yet, unless it is there.
    fn create(&self, shard: &Shard) -> impl Future<Output = Result<()>> + Send;

    /// Makes `change` and raises the counter, if the counter is still `counter` and, where it is given, the owner
    /// still `owner`.
    fn write(
        &self,
        shard: &ShardId,
        counter: u64,
        owner: Option<&str>,
        change: Change<Self::Save>,
    ) -> impl Future<Output = Result<Written>> + Send;
}

/// The lease in an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The worker that holds it, if any.
    pub owner: Option<String>,
    /// Raised by every write.
    pub counter: u64,
    /// The shard was read to its end, and nothing of it is left to send.
    pub ended: bool,
    /// Where the cut lies, if not in the item.
    pub object: Option<String>,
}

/// What to change of an item.
#[derive(Clone, Debug)]
pub enum Change<S> {
    /// Nothing but the counter.
    Renew,
    /// The owner, to this one.
    Take(String),
    /// The owner, to nobody.
    Release,
    /// The cut.
    Save(S),
}

/// What became of a conditional write.
#[derive(Debug)]
pub enum Written {
    /// It was made.
    Made,
    /// The condition did not hold; this is what is there.
    Refused(Option<Item>),
}
