//! The stages' cuts in a DynamoDB table, fenced by leases. Interprets no state.
//!
//! A cut is saved on the condition that the lease is still held, in one write with its position. Who takes a lease
//! loads the cut afterwards, never before: taking raises the counter, so that nothing of the former owner can be
//! written between the two. [`CheckpointStore::save`] insists on that order.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue::{Bool, S};

use crate::backend::{
    Backend, BackendError, Checkpoint, CheckpointStore, Held, Outbox, Outgoing, Result, SequenceNumber,
    Shard, ShardId, Stage, Stream,
    aws::{
        Shared, cut,
        cut::Place,
        leases::Leases,
        table::{
            CHECKPOINT, CUT, CUT_OBJECT, Change, Item, PENDING, POSITION, SAVED, SAVES, SHARD_END,
            SUB_SEQUENCE, SWITCHES, TRIM_HORIZON, bytes, number,
        },
    },
    embedded,
    lease::{
        holder::{Holder, Tenant, Tenure},
        table,
    },
};

/// How often a cut is looked for that others replace while it is read.
const LOOKS: usize = 5;

/// The cuts of one stage.
#[derive(Clone, Debug)]
pub struct Checkpoints(Kept);

#[derive(Clone, Debug)]
enum Kept {
    /// A producer keeps no cut here, and its lock on its own machine.
    Local(embedded::Checkpoints),
    Leased(Leased),
}

#[derive(Clone, Debug)]
struct Leased {
    shared: Arc<Shared>,
    holder: Arc<Holder<Leases>>,
}

impl Checkpoints {
    pub(super) async fn open(shared: Arc<Shared>, stage: Stage) -> Result<Self> {
        let stream = match stage {
            Stage::Produce => {
                return shared.local()?.checkpoints(stage).await.map(Kept::Local).map(Self);
            }
            Stage::Analyze => Stream::Input,
            Stage::Deliver => Stream::Output,
        };
        let settings = &shared.settings;
        let prefix = format!("{}/{}/{}/", settings.pipeline, stage.as_str(), settings.stream(stream));
        let holder = Arc::new(Leases::holder(&shared, prefix, stage)?);
        Ok(Self(Kept::Leased(Leased { shared, holder })))
    }
}

impl CheckpointStore for Checkpoints {
    fn hold_every(&self) -> Duration {
        match &self.0 {
            Kept::Local(store) => store.hold_every(),
            Kept::Leased(store) => store.holder.every(),
        }
    }

    async fn hold(&self, shards: &[Shard]) -> Result<Held> {
        match &self.0 {
            Kept::Local(store) => store.hold(shards).await,
            Kept::Leased(store) => store.holder.hold(shards).await,
        }
    }

    async fn hold_all(&self, shards: &[Shard]) -> Result<()> {
        match &self.0 {
            Kept::Local(store) => store.hold_all(shards).await,
            Kept::Leased(store) => store.holder.hold_all(shards).await,
        }
    }

    async fn seize(&self, shard: &Shard) -> Result<()> {
        match &self.0 {
            Kept::Local(store) => store.seize(shard).await,
            Kept::Leased(store) => store.holder.seize(shard).await,
        }
    }

    async fn release(&self, shard: &ShardId) -> Result<()> {
        match &self.0 {
            Kept::Local(store) => store.release(shard).await,
            Kept::Leased(store) => store.holder.release(shard).await,
        }
    }

    async fn load(&self, shard: &ShardId) -> Result<Option<(Checkpoint, Outbox)>> {
        match &self.0 {
            Kept::Local(store) => store.load(shard).await,
            Kept::Leased(store) => store.load(shard).await,
        }
    }

    async fn save(&self, shard: &ShardId, checkpoint: Checkpoint, outbox: Vec<Outgoing>) -> Result<Outbox> {
        match &self.0 {
            Kept::Local(store) => store.save(shard, checkpoint, outbox).await,
            Kept::Leased(store) => store.save(shard, checkpoint, !outbox.is_empty()).await,
        }
    }
}

impl Leased {
    async fn load(&self, shard: &ShardId) -> Result<Option<(Checkpoint, Outbox)>> {
        self.holder.keep().await?;
        let tenure = self.holder.tenure(shard);
        let mut item = self.holder.leases.table.read(&self.holder.leases.key(shard)).await?;
        if let Some(tenure) = tenure {
            let mut tenant = tenure.state.lock().await;
            if !tenant.loaded {
                tenant.loaded = true;
                tenant.objects.extend(item.as_ref().and_then(|item| item.object.clone()));
            }
        }
        for _ in 0..LOOKS {
            let Some(mut found) = item.take().filter(|item| item.saves > 0) else { return Ok(None) };
            if let Some(state) = cut::state(&self.shared, &mut found).await? {
                return Ok(Some(loaded(found, state)));
            }
            let now = self.holder.leases.table.read(&found.key).await?;
            if now.as_ref().is_some_and(|now| now.object == found.object) {
                return Err(cut::gone(&self.shared, &found));
            }
            item = now;
        }
        Err(BackendError::Busy { why: format!("the cut of {shard} is replaced faster than it is read") })
    }

    async fn save(&self, shard: &ShardId, checkpoint: Checkpoint, pending: bool) -> Result<Outbox> {
        self.holder.keep().await?;
        let Some(tenure) = self.holder.tenure(shard) else { return Err(self.holder.lost(shard)) };
        if !tenure.state.lock().await.loaded {
            let why = format!("{shard} was taken by {}, but its cut not loaded since", self.holder.name);
            return Err(BackendError::Closed { why });
        }
        let Checkpoint { position, state, ended } = checkpoint;
        let random = getrandom::u64().map_err(|why| BackendError::failed("no random numbers", why))?;
        let object = || format!("cuts/{}/{}-{random:016x}", self.holder.leases.key(shard), self.holder.name);
        let place = cut::place(&self.shared, state, object).await?;
        let mut change = Change {
            set: vec![
                (CHECKPOINT, S(bare(position.as_ref(), ended).to_owned())),
                (SUB_SEQUENCE, number(&0)),
                (SWITCHES, number(&0)),
                (PENDING, Bool(pending)),
                (SAVED, number(&self.shared.settings.clock.now().as_millis())),
            ],
            add: vec![SAVES],
            remove: Vec::new(),
        };
        change.put(POSITION, position.map(|position| S(position.0)));
        let object = self.store(&tenure, place, &mut change).await?;
        let mut tenant = tenure.state.lock().await;
        let written = self.holder.write(&tenure, &mut tenant, table::Change::Save(change)).await;
        let is_certain = matches!(written, Ok(()) | Err(BackendError::Closed { .. }));
        let superseded = if is_certain { superseded(&mut tenant, object) } else { Vec::new() };
        // S3 may take its time: the lease is to be renewed meanwhile.
        drop(tenant);
        for object in superseded {
            cut::delete(&self.shared, &object).await;
        }
        written.map(|()| {
            if ended && !pending {
                self.holder.note_end();
            }
            if pending { Outbox::Pending } else { Outbox::Sent }
        })
    }

    /// Puts the cut where it goes, or into what `change` will write; the object if it is one.
    async fn store(&self, tenure: &Tenure, place: Place, change: &mut Change) -> Result<Option<String>> {
        let (cut, object) = match place {
            Place::Nowhere => (None, None),
            Place::Item(cut) => (Some(bytes(cut)), None),
            Place::Object(object, cut) => {
                // Remembered first: the call may be cancelled at any time.
                tenure.state.lock().await.objects.push(object.clone());
                cut::put(&self.shared, &object, cut).await?;
                (None, Some(object))
            }
        };
        change.put(CUT, cut);
        change.put(CUT_OBJECT, object.clone().map(S));
        Ok(object)
    }
}

/// The objects that the item points to no more.
fn superseded(tenant: &mut Tenant, now: Option<String>) -> Vec<String> {
    let kept = now.filter(|_| tenant.is_held());
    let mut known = std::mem::take(&mut tenant.objects);
    known.retain(|object| kept.as_ref() != Some(object));
    tenant.objects.extend(kept);
    known
}

impl Change {
    /// Sets an attribute, or removes it.
    fn put(&mut self, name: &'static str, value: Option<aws_sdk_dynamodb::types::AttributeValue>) {
        match value {
            Some(value) => self.set.push((name, value)),
            None => self.remove.push(name),
        }
    }
}

/// What `checkpoint` says in the words of the Kinesis Client Library: what a reader puts behind `@` is its own.
fn bare(position: Option<&SequenceNumber>, ended: bool) -> &str {
    match position {
        _ if ended => SHARD_END,
        None => TRIM_HORIZON,
        Some(SequenceNumber(position)) => position.split_once('@').map_or(position, |(bare, _)| bare),
    }
}

pub(super) fn loaded(item: Item, state: Vec<u8>) -> (Checkpoint, Outbox) {
    let position = item.position.map(SequenceNumber);
    let outbox = if item.pending { Outbox::Pending } else { Outbox::Sent };
    (Checkpoint { position, state, ended: item.ended }, outbox)
}
