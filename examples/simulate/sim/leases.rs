//! Cuts fenced by leases, as `backend::aws` keeps them in DynamoDB: the real holder, over a table that is a map of the
//! world's. Interprets no cut.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use logtally::backend::{
    BackendError, Checkpoint, Outbox, Result, Shard, ShardId, Stage,
    lease::{
        holder::Holder,
        table::{self, Change, Written},
    },
};

use super::{
    process::Process,
    table::{Key, Save},
    world::{State, word},
};

/// The leases of one stage, as one process reaches them.
#[derive(Debug)]
pub(crate) struct Leases {
    process: Process,
    stage: Stage,
}

impl Leases {
    pub(crate) fn holder(process: Process, stage: Stage) -> Holder<Self> {
        let (name, lease_ms) = (process.name().to_owned(), process.world().plan.lease_ms);
        Holder::new(Self { process, stage }, name, stage, lease_ms)
    }

    fn key(&self, shard: &ShardId) -> Key {
        (word(self.stage), shard.clone())
    }
}

impl table::Leases for Leases {
    type Save = Save;

    async fn all(&self, now: bool) -> Result<BTreeMap<ShardId, table::Item>> {
        let stage = word(self.stage);
        let read = move |state: &mut State| {
            let is_stale = !now && state.random.chance(state.rates.empty);
            let (items, old) = state.leases.look(state.trace.now(), stage, is_stale);
            if old > 0 {
                state.count("stale look");
            }
            items
        };
        self.process.call("look at leases", read).await
    }

    async fn one(&self, shard: &ShardId) -> Result<Option<table::Item>> {
        let key = self.key(shard);
        let read = move |state: &mut State| state.leases.get(&key).map(|item| item.lease.clone());
        self.process.call("look at a lease", read).await
    }

    async fn create(&self, shard: &Shard) -> Result<()> {
        let key = self.key(&shard.id);
        let create = move |state: &mut State| state.leases.create(state.trace.now(), &key);
        self.process.call("create a lease", create).await
    }

    async fn write(
        &self,
        shard: &ShardId,
        counter: u64,
        owner: Option<&str>,
        change: Change<Save>,
    ) -> Result<Written> {
        let (key, me, owner) = (self.key(shard), self.process.name().to_owned(), owner.map(str::to_owned));
        let lease = Duration::from_millis(self.process.world().plan.lease_ms);
        let name = match &change {
            Change::Renew => "renew a lease",
            Change::Take(_) => "take a lease",
            Change::Release => "release a lease",
            Change::Save(_) => "save",
        };
        let write = move |state: &mut State| {
            let Some(item) = state.leases.get(&key) else { return Written::Refused(None) };
            let there = item.lease.clone();
            if there.counter != counter || owner.is_some() && there.owner != owner {
                match (&there.owner, &change) {
                    (Some(owner), _) if *owner == me => state.count("own write found"),
                    (_, Change::Save(_)) => state.count("save fenced off"),
                    _ => {}
                }
                return Written::Refused(Some(there));
            }
            let now = state.trace.now();
            let is_fresh = state.leases.written(&key).is_some_and(|at| now < at + lease);
            if matches!(change, Change::Take(_)) && is_fresh && there.owner.is_some_and(|owner| owner != me) {
                state.count("steal");
            }
            state.leases.write(now, &key, &change);
            let position = state.leases.get(&key).and_then(|item| item.position.as_ref());
            let at = position.map_or("-", |position| &position.0);
            state.trace.note(format_args!("  {name} of {} {}: {counter}, at {at}", key.0, key.1));
            Written::Made
        };
        self.process.call(name, write).await
    }
}

pub(crate) async fn load(
    holder: &Arc<Holder<Leases>>,
    shard: &ShardId,
) -> Result<Option<(Checkpoint, Outbox)>> {
    holder.keep().await?;
    let (tenure, key) = (holder.tenure(shard), holder.leases.key(shard));
    let read = move |state: &mut State| state.leases.get(&key).cloned();
    let item = holder.leases.process.call("load", read).await?;
    if let Some(tenure) = tenure {
        tenure.state.lock().await.loaded = true;
    }
    Ok(item.and_then(|item| item.checkpoint()))
}

pub(crate) async fn save(
    holder: &Arc<Holder<Leases>>,
    shard: &ShardId,
    checkpoint: Checkpoint,
    pending: bool,
) -> Result<Outbox> {
    holder.keep().await?;
    let Some(tenure) = holder.tenure(shard) else { return Err(holder.lost(shard)) };
    if !tenure.state.lock().await.loaded {
        let why = format!("{shard} was taken, but its cut not loaded since");
        return Err(BackendError::Closed { why });
    }
    let mut tenant = tenure.state.lock().await;
    let ended = checkpoint.ended;
    holder.write(&tenure, &mut tenant, Change::Save((checkpoint, pending))).await?;
    if ended && !pending {
        holder.note_end();
    }
    Ok(if pending { Outbox::Pending } else { Outbox::Sent })
}
