//! The leases that a worker holds: takes, renews and gives them up. Knows no cut, and no service: of that it asks
//! [`Leases`].
//!
//! All writes for one lease go through its [`Tenure`], one at a time, and each of them is the renewal as well. Who
//! finds another owner in an item has lost the lease, and forgets it; there is no way back but to take it again.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Mutex, task::JoinSet, time::Instant};

use crate::{
    backend::{
        BackendError, Held, Result, Shard, ShardId, Stage,
        lease::{
            Book, Owner, Seen, renew_every_ms,
            table::{Change, Item, Leases, Written},
        },
        retry::LOG_EVERY,
    },
    random,
};

/// How often a write starts again because an earlier one of this worker arrived late; then the table is busy.
const ATTEMPTS: usize = 4;

/// The leases of one stage, as one worker sees them.
#[derive(Debug)]
pub struct Holder<L> {
    /// Where they are.
    pub leases: L,
    /// Who this is: no two holders have the same name, in one process neither.
    pub name: String,
    pub(super) stage: Stage,
    pub(super) lease_ms: u64,
    began: Instant,
    pub(super) watch: Mutex<Watch>,
    /// A shard was ended since the last look.
    an_end: AtomicBool,
    /// When all leases were last renewed.
    renewed_ms: AtomicU64,
    /// Rounds of renewals in a row of which one found the table busy and none came through.
    busy_rounds: AtomicU32,
    tenures: std::sync::Mutex<BTreeMap<ShardId, Arc<Tenure>>>,
}

/// What was seen of all leases, and when they are to be looked at again.
#[derive(Debug)]
pub(super) struct Watch {
    book: Book,
    /// As the last look showed the leases, in the order of the shards that were asked for.
    seen: Vec<Seen>,
    undecided: bool,
}

/// A lease from taking it to losing it. Who makes a write holds the lock.
#[derive(Debug)]
pub struct Tenure {
    shard: ShardId,
    /// What is known of the item.
    pub state: Mutex<Tenant>,
}

/// What the holder of a lease knows of its item.
#[derive(Debug, Default)]
pub struct Tenant {
    counter: u64,
    /// When it was written last, by this worker's clock.
    written_ms: u64,
    lost: bool,
    /// The cut was loaded since the lease was taken: what is saved builds on it.
    pub loaded: bool,
    /// Every object that the item may point to.
    pub objects: Vec<String>,
}

impl Tenant {
    /// Not lost yet, as far as is known.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        !self.lost
    }
}

impl<L: Leases> Holder<L> {
    /// Holds nothing yet. A lease lasts so many milliseconds.
    #[must_use]
    pub fn new(leases: L, name: String, stage: Stage, lease_ms: u64) -> Self {
        Self {
            leases,
            name,
            stage,
            lease_ms,
            began: Instant::now(),
            watch: Mutex::new(Watch { book: Book::new(lease_ms), seen: Vec::new(), undecided: true }),
            an_end: AtomicBool::new(false),
            renewed_ms: AtomicU64::new(0),
            busy_rounds: AtomicU32::new(0),
            tenures: std::sync::Mutex::default(),
        }
    }

    /// How often [`Self::hold`] is to be called.
    pub const fn every(&self) -> Duration {
        Duration::from_millis(renew_every_ms(self.lease_ms))
    }

    /// The end of a shard was saved, and nothing of it is left to send: its children may be read.
    pub fn note_end(&self) {
        self.an_end.store(true, Ordering::Relaxed);
    }

    fn tenures(&self) -> MutexGuard<'_, BTreeMap<ShardId, Arc<Tenure>>> {
        self.tenures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held of `shard`.
    pub fn tenure(&self, shard: &ShardId) -> Option<Arc<Tenure>> {
        self.tenures().get(shard).cloned()
    }

    /// That `shard` is another's.
    pub fn lost(&self, shard: &ShardId) -> BackendError {
        BackendError::Closed { why: format!("{shard} is not held by {} any more", self.name) }
    }

    /// As the port has it. The others are looked at when it is time to, when other shards are asked for, and when this
    /// worker ended one.
    ///
    /// # Errors
    /// What the table fails with, but for what may be tried again.
    pub async fn hold(self: &Arc<Self>, shards: &[Shard]) -> Result<Held> {
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
        let ended = watch.seen.iter().filter(|lease| lease.ended);
        Ok(Held {
            shards: held.map(|lease| lease.shard.clone()).collect(),
            ended: ended.map(|lease| lease.shard.clone()).collect(),
            undecided: watch.undecided,
        })
    }

    /// Looks at every lease, and takes what is to be taken. What the look shows may be a moment old: every write has its
    /// condition. But an end is believed only as it is now, for there may have been a start since that made the cut anew.
    async fn share(self: &Arc<Self>, watch: &mut Watch, shards: &[Shard]) -> Result<()> {
        let mut seen = self.look(shards, false).await?;
        if seen.iter().any(|lease| lease.ended) {
            seen = self.look(shards, true).await?;
        }
        // Undecided until all is taken: that may be cancelled.
        (watch.seen, watch.undecided) = (seen, true);
        let Watch { book, seen, undecided } = watch;
        let now_ms = self.now_ms();
        book.look(now_ms, seen);
        let plan = book.plan(now_ms, seen, || random::u64().unwrap_or_default());
        let chosen: HashSet<&ShardId> = plan.take.iter().collect();
        let mut missed = false;
        for (shard, lease) in shards.iter().zip(&*seen).filter(|(shard, _)| chosen.contains(&shard.id)) {
            match self.take(shard, lease).await {
                Ok(taken) => {
                    tracing::debug!(shard = %lease.shard, taken, "taking a lease");
                    missed |= !taken;
                    if taken && plan.steals {
                        book.stole(now_ms);
                    }
                }
                Err(BackendError::Busy { why }) => {
                    tracing::warn!("taking a lease: {why}; trying again");
                    missed = true;
                }
                Err(error) => return Err(error),
            }
        }
        book.look_with(if missed { 1 } else { plan.next });
        *undecided = plan.undecided || missed;
        Ok(())
    }

    /// Takes a lease from whoever holds it.
    ///
    /// # Errors
    /// What the table fails with; [`BackendError::Busy`] if several take the lease at once.
    pub async fn seize(&self, shard: &Shard) -> Result<()> {
        if let Some(tenure) = self.tenure(&shard.id) {
            let mut tenant = tenure.state.lock().await;
            self.forget(&tenure, &mut tenant);
        }
        for _ in 0..ATTEMPTS {
            let item = self.leases.one(&shard.id).await?;
            if self.take(shard, &self.seen(shard, item.unwrap_or_default())).await? {
                return Ok(());
            }
        }
        Err(BackendError::Busy { why: format!("{}: several take the lease at once", shard.id) })
    }

    /// Gives a lease up, for others to take at once.
    ///
    /// # Errors
    /// What the table fails with: then the lease runs out.
    pub async fn release(&self, shard: &ShardId) -> Result<()> {
        let Some(tenure) = self.tenure(shard) else { return Ok(()) };
        let mut tenant = tenure.state.lock().await;
        let written = self.write(&tenure, &mut tenant, Change::Release).await;
        self.forget(&tenure, &mut tenant);
        tenant.objects.clear(); // one of them is the cut
        match written {
            Err(BackendError::Closed { .. }) => Ok(()),
            written => written,
        }
    }

    /// Makes `change` to the item of a lease that is held, which renews it.
    ///
    /// Where the item shows this worker with another counter, an earlier write of its own, of which the answer was lost
    /// or not waited for, was made after all; nobody else's can have been, so this one builds on it.
    ///
    /// # Errors
    /// [`BackendError::Closed`] once it is lost; what the table fails with.
    pub async fn write(
        &self,
        tenure: &Arc<Tenure>,
        tenant: &mut Tenant,
        change: Change<L::Save>,
    ) -> Result<()> {
        let shard = &tenure.shard;
        for _ in 0..ATTEMPTS {
            if tenant.lost {
                return Err(self.lost(shard));
            }
            match self.leases.write(shard, tenant.counter, Some(&self.name), change.clone()).await? {
                Written::Made => {
                    tenant.counter += 1;
                    tenant.written_ms = self.now_ms();
                    return Ok(());
                }
                Written::Refused(Some(there)) if there.owner.as_ref() == Some(&self.name) => {
                    tenant.counter = there.counter;
                }
                Written::Refused(there) => {
                    let still = there.and_then(|there| there.object);
                    tenant.objects.retain(|object| Some(object) != still.as_ref());
                    self.forget(tenure, tenant);
                    return Err(self.lost(shard));
                }
            }
        }
        Err(self.keep_arriving(shard))
    }

    fn forget(&self, tenure: &Arc<Tenure>, tenant: &mut Tenant) {
        tenant.lost = true;
        let mut tenures = self.tenures();
        if tenures.get(&tenure.shard).is_some_and(|now| Arc::ptr_eq(now, tenure)) {
            tenures.remove(&tenure.shard);
        }
    }

    /// Every lease of `shards` as it is after renewing what is held of them; what is held of others is given up. The leases
    /// of others are as they are `now`, or were a moment ago.
    pub(super) async fn look(self: &Arc<Self>, shards: &[Shard], now: bool) -> Result<Vec<Seen>> {
        let items = self.leases.all(now).await;
        if items.is_err() {
            // What is held is renewed all the same.
            self.renew(self.lease_ms / 6, &BTreeMap::new()).await?;
        }
        let mut items = items?;
        self.release_but(shards).await;
        self.renew(self.lease_ms / 6, &items).await?;
        let mut item = |shard: &Shard| items.remove(&shard.id).unwrap_or_default();
        Ok(shards.iter().map(|shard| self.seen(shard, item(shard))).collect())
    }

    /// What an item shows, unless this worker knows better: it may have written since the look.
    fn seen(&self, shard: &Shard, item: Item) -> Seen {
        let owner = Owner::of(self.tenures().contains_key(&shard.id), item.owner, &self.name);
        Seen { shard: shard.id.clone(), owner, counter: item.counter, ended: item.ended }
    }

    /// Renews what was not written for half a lease. A start that prepares every cut takes its time, and nobody calls
    /// [`Self::hold`] meanwhile.
    ///
    /// # Errors
    /// What the table fails with for good.
    pub async fn keep(self: &Arc<Self>) -> Result<()> {
        let half = self.lease_ms / 2;
        if self.now_ms() < self.renewed_ms.load(Ordering::Relaxed) + half {
            return Ok(());
        }
        self.renew(half, &BTreeMap::new()).await
    }

    /// Renews what was not written for `after_ms`, and what is another's by `items`; all at once: one slow answer does
    /// not cost the other leases.
    async fn renew(self: &Arc<Self>, after_ms: u64, items: &BTreeMap<ShardId, Item>) -> Result<()> {
        self.renewed_ms.store(self.now_ms(), Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        for (shard, tenure) in &*self.tenures() {
            let doubtful = items.get(shard).is_some_and(|item| item.owner.as_ref() != Some(&self.name));
            let (holder, tenure) = (Arc::clone(self), Arc::clone(tenure));
            tasks.spawn(async move {
                // A write that is on its way renews the lease, too.
                let Ok(mut tenant) = tenure.state.try_lock() else { return Ok(false) };
                if holder.now_ms() < tenant.written_ms + after_ms && !doubtful {
                    return Ok(false);
                }
                holder.write(&tenure, &mut tenant, Change::Renew).await.map(|()| true)
            });
        }
        let (mut outcome, mut written, mut busy) = (Ok(()), false, Vec::new());
        while let Some(renewed) = tasks.join_next().await {
            match renewed.map_err(|ended| BackendError::failed("a renewal ended", ended))? {
                Ok(wrote) => written |= wrote,
                Err(BackendError::Closed { why }) => tracing::info!("{why}"),
                // Still held as long as nobody else takes it.
                Err(BackendError::Busy { why }) => busy.push(why),
                Err(error) => outcome = Err(error),
            }
        }
        self.tell(written, &busy);
        outcome
    }

    /// Says what keeps leases from being renewed: once for all of them, and then every so many rounds.
    fn tell(&self, written: bool, busy: &[String]) {
        if written {
            self.busy_rounds.store(0, Ordering::Relaxed);
        }
        if let Some(why) = busy.first()
            && self.busy_rounds.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOG_EVERY)
        {
            tracing::warn!(leases = busy.len(), "renewing leases: {why}; trying again");
        }
    }

    /// Takes a lease on the condition that it is as it was seen; whether it was. One that was never written may have no
    /// item yet. One that is this worker's by a write whose answer was lost is taken all the same: whatever else of the time
    /// before is on its way finds another counter.
    pub(super) async fn take(&self, shard: &Shard, lease: &Seen) -> Result<bool> {
        if lease.counter == 0 {
            self.leases.create(shard).await?;
        }
        let mut counter = lease.counter;
        for _ in 0..ATTEMPTS {
            match self.leases.write(&shard.id, counter, None, Change::Take(self.name.clone())).await? {
                Written::Made => {
                    let (counter, written_ms) = (counter + 1, self.now_ms());
                    let state = Mutex::new(Tenant { counter, written_ms, ..Tenant::default() });
                    let tenure = Tenure { shard: shard.id.clone(), state };
                    self.tenures().insert(shard.id.clone(), Arc::new(tenure));
                    return Ok(true);
                }
                Written::Refused(Some(there)) if there.owner.as_ref() == Some(&self.name) => {
                    counter = there.counter;
                }
                Written::Refused(_) => return Ok(false),
            }
        }
        Err(self.keep_arriving(&lease.shard))
    }

    fn keep_arriving(&self, shard: &ShardId) -> BackendError {
        BackendError::Busy { why: format!("{shard}: earlier writes of {} keep arriving", self.name) }
    }

    pub(super) async fn release_but(&self, shards: &[Shard]) {
        let kept: HashSet<&ShardId> = shards.iter().map(|shard| &shard.id).collect();
        let rest: Vec<ShardId> = self.tenures().keys().filter(|held| !kept.contains(held)).cloned().collect();
        for shard in rest {
            if let Err(error) = self.release(&shard).await {
                tracing::debug!(%shard, %error, "not released");
            }
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
