//! Cuts fenced by leases, as `backend::aws` keeps them in DynamoDB: the same rules (the real `Book`), the same
//! conditions of writes, the same order of calls; the table is a map of the world's. Interprets no cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex as Sync, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use logtally::backend::{
    BackendError, Checkpoint, Held, Outbox, Result, Shard, ShardId, Stage,
    lease::{Book, Owner, Seen, Standing, renew_every_ms},
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    process::{Process, busy},
    table::{Change, Item, Key},
    world::{State, word},
};

/// How often a write starts again because an earlier one of this worker arrived late.
const ATTEMPTS: usize = 4;

/// The leases of one stage, as one worker sees them.
#[derive(Debug)]
pub(crate) struct Holder {
    process: Process,
    stage: Stage,
    lease_ms: u64,
    began: Instant,
    watch: Mutex<Watch>,
    an_end: AtomicBool,
    renewed_ms: AtomicU64,
    tenures: Sync<BTreeMap<ShardId, Arc<Tenure>>>,
}

#[derive(Debug)]
struct Watch {
    book: Book,
    seen: Vec<Seen>,
    undecided: bool,
}

#[derive(Debug)]
struct Tenure {
    shard: ShardId,
    state: Mutex<Tenant>,
}

#[derive(Debug, Default)]
struct Tenant {
    counter: u64,
    written_ms: u64,
    lost: bool,
    loaded: bool,
}

impl Holder {
    pub(crate) fn new(process: Process, stage: Stage) -> Self {
        let lease_ms = process.world().plan.lease_ms;
        Self {
            process,
            stage,
            lease_ms,
            began: Instant::now(),
            watch: Mutex::new(Watch { book: Book::new(lease_ms), seen: Vec::new(), undecided: true }),
            an_end: AtomicBool::new(false),
            renewed_ms: AtomicU64::new(0),
            tenures: Sync::default(),
        }
    }

    pub(crate) const fn every(&self) -> Duration {
        Duration::from_millis(renew_every_ms(self.lease_ms))
    }

    fn key(&self, shard: &ShardId) -> Key {
        (word(self.stage), shard.clone())
    }

    fn tenures(&self) -> MutexGuard<'_, BTreeMap<ShardId, Arc<Tenure>>> {
        self.tenures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tenure(&self, shard: &ShardId) -> Option<Arc<Tenure>> {
        self.tenures().get(shard).cloned()
    }

    fn lost(&self, shard: &ShardId) -> BackendError {
        BackendError::Closed { why: format!("{shard} is not held by {} any more", self.process.name()) }
    }

    pub(crate) async fn hold(self: &Arc<Self>, shards: &[Shard]) -> Result<Held> {
        let mut watch = self.watch.lock().await;
        let asked = shards.iter().map(|shard| &shard.id);
        let is_same = asked.eq(watch.seen.iter().map(|lease| &lease.shard));
        if self.an_end.swap(false, Ordering::Relaxed) || !is_same {
            watch.book.look_with(1);
        }
        if watch.book.may_skip() {
            self.renew(self.lease_ms / 6, &BTreeMap::new()).await?;
        } else {
            self.share(&mut watch, shards).await?;
        }
        let mine = self.tenures();
        let held = watch.seen.iter().filter(|lease| !lease.ended && mine.contains_key(&lease.shard));
        Ok(Held {
            shards: held.map(|lease| lease.shard.clone()).collect(),
            ended: watch.seen.iter().filter(|lease| lease.ended).map(|lease| lease.shard.clone()).collect(),
            undecided: watch.undecided,
        })
    }

    async fn share(self: &Arc<Self>, watch: &mut Watch, shards: &[Shard]) -> Result<()> {
        let mut seen = self.look(shards, false).await?;
        if seen.iter().any(|lease| lease.ended) {
            seen = self.look(shards, true).await?;
        }
        (watch.seen, watch.undecided) = (seen, true);
        let Watch { book, seen, undecided } = watch;
        let now_ms = self.now_ms();
        book.look(now_ms, seen);
        let world = self.process.world();
        let plan = book.plan(now_ms, seen, || world.lock().random.next());
        let mut missed = false;
        for lease in seen.iter().filter(|lease| plan.take.contains(&lease.shard)) {
            match self.take(lease).await {
                Ok(taken) => {
                    missed |= !taken;
                    if taken && plan.steals {
                        book.stole(now_ms);
                        world.lock().count("steal");
                    }
                }
                Err(BackendError::Busy { .. }) => missed = true,
                Err(error) => return Err(error),
            }
        }
        book.look_with(if missed { 1 } else { plan.next });
        *undecided = plan.undecided || missed;
        Ok(())
    }

    pub(crate) async fn hold_all(self: &Arc<Self>, shards: &[Shard]) -> Result<()> {
        let _alone = self.watch.lock().await;
        let mut shards = shards.to_vec();
        shards.sort_by(|one, other| one.id.cmp(&other.id));
        let taken = self.take_all(&shards).await;
        if taken.is_err() {
            self.release_but(&[]).await;
        }
        taken
    }

    async fn take_all(self: &Arc<Self>, shards: &[Shard]) -> Result<()> {
        let mut book = Book::new(self.lease_ms);
        loop {
            let seen = self.look(shards, true).await?;
            book.look(self.now_ms(), &seen);
            let now_ms = self.now_ms();
            let living = |lease: &&Seen| book.standing(now_ms, lease) == Standing::Living;
            if let Some(lease) = seen.iter().find(living) {
                return Err(BackendError::Closed { why: format!("{} is being read", lease.shard) });
            }
            let mut all = true;
            for lease in &seen {
                all = match book.standing(now_ms, lease) {
                    Standing::Mine => true,
                    Standing::Open => self.take(lease).await?,
                    Standing::Living | Standing::Unproven => false,
                };
                if !all {
                    break;
                }
            }
            if all {
                return Ok(());
            }
            sleep(self.every()).await;
        }
    }

    pub(crate) async fn release(&self, shard: &ShardId) -> Result<()> {
        let Some(tenure) = self.tenure(shard) else { return Ok(()) };
        let mut tenant = tenure.state.lock().await;
        let written = self.write(&tenure, &mut tenant, Change::Release).await;
        self.forget(&tenure, &mut tenant);
        match written {
            Err(BackendError::Closed { .. }) => Ok(()),
            written => written,
        }
    }

    pub(crate) async fn load(self: &Arc<Self>, shard: &ShardId) -> Result<Option<(Checkpoint, Outbox)>> {
        self.keep().await?;
        let (tenure, key) = (self.tenure(shard), self.key(shard));
        let read = move |state: &mut State| state.leases.get(&key).cloned();
        let item = self.process.call("load", read).await?;
        if let Some(tenure) = tenure {
            tenure.state.lock().await.loaded = true;
        }
        Ok(item.and_then(|item| item.checkpoint()))
    }

    pub(crate) async fn save(
        self: &Arc<Self>,
        shard: &ShardId,
        checkpoint: Checkpoint,
        pending: bool,
    ) -> Result<Outbox> {
        self.keep().await?;
        let Some(tenure) = self.tenure(shard) else { return Err(self.lost(shard)) };
        if !tenure.state.lock().await.loaded {
            let why = format!("{shard} was taken, but its cut not loaded since");
            return Err(BackendError::Closed { why });
        }
        let mut tenant = tenure.state.lock().await;
        let ended = checkpoint.ended;
        self.write(&tenure, &mut tenant, Change::Save(checkpoint, pending)).await?;
        if ended && !pending {
            self.an_end.store(true, Ordering::Relaxed);
        }
        Ok(if pending { Outbox::Pending } else { Outbox::Sent })
    }

    /// Makes `change` to an item that is held, which renews it.
    async fn write(&self, tenure: &Arc<Tenure>, tenant: &mut Tenant, change: Change) -> Result<()> {
        let shard = &tenure.shard;
        for _ in 0..ATTEMPTS {
            if tenant.lost {
                return Err(self.lost(shard));
            }
            let me = self.process.name().to_owned();
            match self.write_if(shard, tenant.counter, Some(me.clone()), change.clone()).await? {
                Ok(()) => {
                    tenant.counter += 1;
                    tenant.written_ms = self.now_ms();
                    return Ok(());
                }
                Err(Some(there)) if there.owner.as_ref() == Some(&me) => {
                    self.process.world().lock().count("own write found");
                    tenant.counter = there.counter;
                }
                Err(_) => {
                    if matches!(change, Change::Save(..)) {
                        self.process.world().lock().count("save fenced off");
                    }
                    self.forget(tenure, tenant);
                    return Err(self.lost(shard));
                }
            }
        }
        Err(busy("earlier writes keep arriving"))
    }

    /// Makes `change` if the counter and, where it is given, the owner are still these; else what is there.
    async fn write_if(
        &self,
        shard: &ShardId,
        counter: u64,
        owner: Option<String>,
        change: Change,
    ) -> Result<Result<(), Option<Item>>> {
        let key = self.key(shard);
        let name = change.name();
        let write = move |state: &mut State| {
            let Some(item) = state.leases.get(&key) else { return Err(None) };
            if item.counter != counter || owner.is_some() && item.owner != owner {
                return Err(Some(item.clone()));
            }
            state.leases.write(state.trace.now(), &key, &change);
            let position = state.leases.get(&key).and_then(|item| item.position.as_ref());
            let at = position.map_or("-", |position| &position.0);
            state.trace.note(format_args!("  {name} of {} {}: {counter}, at {at}", key.0, key.1));
            Ok(())
        };
        self.process.call(name, write).await
    }

    fn forget(&self, tenure: &Arc<Tenure>, tenant: &mut Tenant) {
        tenant.lost = true;
        let mut tenures = self.tenures();
        if tenures.get(&tenure.shard).is_some_and(|now| Arc::ptr_eq(now, tenure)) {
            tenures.remove(&tenure.shard);
        }
    }

    /// Unless they are wanted as they are `now`, the items may be as they were a moment ago.
    async fn look(self: &Arc<Self>, shards: &[Shard], now: bool) -> Result<Vec<Seen>> {
        let keys: Vec<_> = shards.iter().map(|shard| self.key(&shard.id)).collect();
        let read = move |state: &mut State| {
            let is_stale = !now && state.random.chance(state.rates.empty);
            let (items, stale) = state.leases.look(state.trace.now(), &keys, is_stale);
            if stale > 0 {
                state.count("stale look");
            }
            items
        };
        let mut items = self.process.call("look at leases", read).await?;
        self.release_but(shards).await;
        self.renew(self.lease_ms / 6, &items).await?;
        let mut item = |shard: &Shard| items.remove(&shard.id).unwrap_or_default();
        Ok(shards.iter().map(|shard| self.seen(shard, item(shard))).collect())
    }

    /// What an item shows, unless this worker knows better: it may have written since the look.
    fn seen(&self, shard: &Shard, item: Item) -> Seen {
        let owner = match item.owner {
            _ if self.tenures().contains_key(&shard.id) => Owner::Me,
            Some(owner) if owner != self.process.name() => Owner::Other(owner),
            Some(_) | None => Owner::Nobody,
        };
        Seen { shard: shard.id.clone(), owner, counter: item.counter, ended: item.ended && !item.pending }
    }

    async fn keep(self: &Arc<Self>) -> Result<()> {
        let half = self.lease_ms / 2;
        if self.now_ms() < self.renewed_ms.load(Ordering::Relaxed) + half {
            return Ok(());
        }
        self.renew(half, &BTreeMap::new()).await
    }

    /// Renews what was not written for `after_ms`, and what is another's by `items`; all at once.
    async fn renew(self: &Arc<Self>, after_ms: u64, items: &BTreeMap<ShardId, Item>) -> Result<()> {
        self.renewed_ms.store(self.now_ms(), Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        for (shard, tenure) in self.tenures().iter() {
            let is_other = |item: &Item| item.owner.as_deref() != Some(self.process.name());
            let doubtful = items.get(shard).is_some_and(is_other);
            let (holder, tenure) = (Arc::clone(self), Arc::clone(tenure));
            tasks.spawn(async move {
                let Ok(mut tenant) = tenure.state.try_lock() else { return Ok(()) };
                if holder.now_ms() < tenant.written_ms + after_ms && !doubtful {
                    return Ok(());
                }
                holder.write(&tenure, &mut tenant, Change::Renew).await
            });
        }
        let mut outcome = Ok(());
        while let Some(renewed) = tasks.join_next().await {
            match renewed.map_err(|ended| BackendError::failed("a renewal ended", ended))? {
                Ok(()) | Err(BackendError::Closed { .. } | BackendError::Busy { .. }) => {}
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Takes a lease on the condition that it is as it was seen; whether it was.
    async fn take(&self, lease: &Seen) -> Result<bool> {
        if lease.counter == 0 {
            let key = self.key(&lease.shard);
            let create = move |state: &mut State| {
                state.leases.create(state.trace.now(), &key);
            };
            self.process.call("create a lease", create).await?;
        }
        let me = self.process.name().to_owned();
        let mut counter = lease.counter;
        for _ in 0..ATTEMPTS {
            match self.write_if(&lease.shard, counter, None, Change::Take(me.clone())).await? {
                Ok(()) => {
                    self.took(&lease.shard, counter + 1);
                    return Ok(true);
                }
                Err(Some(there)) if there.owner.as_ref() == Some(&me) => counter = there.counter,
                Err(_) => return Ok(false),
            }
        }
        Err(busy("earlier writes keep arriving"))
    }

    fn took(&self, shard: &ShardId, counter: u64) {
        let tenant = Tenant { counter, written_ms: self.now_ms(), ..Tenant::default() };
        let tenure = Tenure { shard: shard.clone(), state: Mutex::new(tenant) };
        self.tenures().insert(shard.clone(), Arc::new(tenure));
    }

    async fn release_but(&self, shards: &[Shard]) {
        let kept: BTreeSet<&ShardId> = shards.iter().map(|shard| &shard.id).collect();
        let rest: Vec<ShardId> = self.tenures().keys().filter(|held| !kept.contains(held)).cloned().collect();
        for shard in rest {
            // Else it runs out.
            let _ = self.release(&shard).await;
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
