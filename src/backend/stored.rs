//! What `status` and `audit` see of checkpoints. Reads none.

use crate::{
    backend::{Checkpoint, Outbox, ShardId, Stage},
    engine::time::Timestamp,
};

/// A checkpoint with where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// Whose.
    pub stage: Stage,
    /// Of which shard.
    pub shard: ShardId,
    /// When it was saved.
    pub saved: Timestamp,
    /// The cut itself.
    pub checkpoint: Checkpoint,
}

/// A lease, and the checkpoint that it fences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLease {
    /// Whose.
    pub stage: Stage,
    /// Of which stream.
    pub stream: String,
    /// Of which shard.
    pub shard: ShardId,
    /// The worker that holds it; absent: nobody. A worker that died is named until another one takes its lease.
    pub owner: Option<String>,
    /// Raised by each write: of a worker that lives, within a third of a lease.
    pub counter: u64,
    /// How many cuts were saved.
    pub saves: u64,
    /// Whether the last cut holds rows that may not have been sent.
    pub outbox: Outbox,
    /// The last cut; absent until one was saved.
    pub checkpoint: Option<StoredCheckpoint>,
}
