//! The cuts of a stage: behind a lock and in one transaction with the outbox, or behind leases. Interprets none.

use std::{sync::Arc, time::Duration};

use logtally::backend::{
    BackendError, Checkpoint, CheckpointStore, Held, Outbox, Outgoing, Result, Shard, ShardId, Stage, Stream,
    lease::holder::Holder,
};

use super::{
    leases::{self, Leases},
    process::Process,
    rates::Kind,
    world::{State, World, word},
};

#[derive(Clone, Debug)]
pub(crate) enum Checkpoints {
    /// Whoever has the lock of the stage holds every shard.
    Locked(Process, Stage, #[expect(dead_code, reason = "held until it is dropped")] Arc<Lock>),
    Leased(Arc<Holder<Leases>>),
}

/// The lock of a stage on a node, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    world: Arc<World>,
    key: (&'static str, usize),
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.world.lock().locks.remove(&self.key);
    }
}

impl Checkpoints {
    pub(crate) async fn open(process: Process, stage: Stage) -> Result<Self> {
        process.pause("open checkpoints").await;
        let world = process.world();
        if world.kind == Kind::Aws && stage != Stage::Produce {
            return Ok(Self::Leased(Arc::new(Leases::holder(process, stage))));
        }
        let key = (word(stage), process.node());
        if !world.lock().locks.insert(key) {
            return Err(BackendError::Closed { why: format!("{} is already running", stage.as_str()) });
        }
        let lock = Lock { world: Arc::clone(world), key };
        Ok(Self::Locked(process, stage, Arc::new(lock)))
    }
}

impl CheckpointStore for Checkpoints {
    fn hold_every(&self) -> Duration {
        match self {
            Self::Locked(..) => Duration::from_secs(10),
            Self::Leased(holder) => holder.every(),
        }
    }

    async fn hold(&self, shards: &[Shard]) -> Result<Held> {
        match self {
            Self::Locked(..) => {
                Ok(Held { shards: shards.iter().map(|shard| shard.id.clone()).collect(), ..Held::default() })
            }
            Self::Leased(holder) => holder.hold(shards).await,
        }
    }

    async fn hold_all(&self, shards: &[Shard]) -> Result<()> {
        match self {
            Self::Locked(..) => Ok(()),
            Self::Leased(holder) => holder.hold_all(shards).await,
        }
    }

    async fn seize(&self, shard: &Shard) -> Result<()> {
        match self {
            Self::Locked(..) => Ok(()),
            Self::Leased(holder) => holder.seize(shard).await,
        }
    }

    async fn release(&self, shard: &ShardId) -> Result<()> {
        match self {
            Self::Locked(..) => Ok(()),
            Self::Leased(holder) => holder.release(shard).await,
        }
    }

    async fn load(&self, shard: &ShardId) -> Result<Option<(Checkpoint, Outbox)>> {
        match self {
            Self::Locked(process, stage, _) => {
                let key = (word(*stage), shard.clone());
                let load = move |state: &mut State| state.cuts.get(&key).cloned();
                Ok(process.call("load", load).await?.map(|checkpoint| (checkpoint, Outbox::Sent)))
            }
            Self::Leased(holder) => leases::load(holder, shard).await,
        }
    }

    async fn save(&self, shard: &ShardId, checkpoint: Checkpoint, outbox: Vec<Outgoing>) -> Result<Outbox> {
        match self {
            Self::Locked(process, stage, _) => {
                let (key, clock) = ((word(*stage), shard.clone()), process.clone());
                let save = move |state: &mut State| {
                    state.put_all(Stream::Output, &outbox, clock.now());
                    state.cuts.insert(key.clone(), checkpoint.clone());
                };
                process.call("save", save).await?;
                Ok(Outbox::Sent)
            }
            Self::Leased(holder) => leases::save(holder, shard, checkpoint, !outbox.is_empty()).await,
        }
    }
}
