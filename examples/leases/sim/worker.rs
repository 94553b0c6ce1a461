//! A worker as `backend::work` and `backend::lease::holder` make it: the same order of calls around the real `Book`,
//! over the table in memory. Reads no record; its cuts are always of the same size.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use logtally::backend::lease::{Book, Owner, Seen, renew_every_ms};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    table::{Change, WorkerId},
    world::{World, between, random},
};

/// Shards that one call lists (Kinesis, `ListShards`).
const SHARDS_PER_CALL: usize = 1_000;
/// Renewals that a list of shards is good for (`backend::work`).
const LOOKS_A_LIST: u32 = 6;
/// How often a cut is saved where no row is due (`config`, on AWS).
const SAVE_EVERY_MS: u64 = 15_000;
/// How long a call takes, from and to, in milliseconds: DynamoDB promises single digits, and a page of 1 MB takes longer.
/// Assumed.
const CALL_MS: (u64, u64) = (3, 8);
const PAGE_MS: (u64, u64) = (20, 60);
const LIST_MS: (u64, u64) = (20, 60);

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    world: Rc<RefCell<World>>,
    lease_ms: u64,
    book: RefCell<Book<u32, u32>>,
    mine: RefCell<Mine>,
}

#[derive(Debug, Default)]
struct Mine {
    tenures: BTreeMap<usize, Tenant>,
    reading: BTreeSet<usize>,
    renewed_ms: u64,
    /// Renewals that the list of shards is still good for.
    good_for: u32,
}

/// A lease that is held.
#[derive(Debug)]
struct Tenant {
    counter: u64,
    written_ms: u64,
    save_at_ms: u64,
    /// A write is on its way.
    busy: bool,
}

impl Worker {
    pub(crate) fn new(id: WorkerId, world: &Rc<RefCell<World>>) -> Self {
        let lease_ms = world.borrow().settings.lease_ms;
        let (book, mine) = (RefCell::new(Book::new(lease_ms)), RefCell::default());
        Self { id, world: Rc::clone(world), lease_ms, book, mine }
    }

    /// As if it had held `shard` for long.
    pub(crate) fn settle(&self, shard: usize) {
        self.took(shard, 1);
        self.read(shard);
    }

    /// Renews, and looks where it is time to, for ever.
    pub(crate) async fn hold_on(&self) {
        loop {
            let next = Instant::now() + Duration::from_millis(renew_every_ms(self.lease_ms));
            self.hold().await;
            sleep_until(next).await;
        }
    }

    /// Saves the cuts of what it reads, for ever.
    pub(crate) async fn save_on(&self) {
        loop {
            self.keep().await;
            self.write_all(self.to_save(), Change::Save).await;
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn to_save(&self) -> Vec<usize> {
        let (now_ms, mine) = (self.now_ms(), self.mine.borrow());
        let due = |(shard, tenant): (&usize, &Tenant)| {
            let due = mine.reading.contains(shard) && !tenant.busy && tenant.save_at_ms <= now_ms;
            due.then_some(*shard)
        };
        mine.tenures.iter().filter_map(due).collect()
    }

    /// Saves what it reads and gives it up, one after the other.
    pub(crate) async fn stop(&self) {
        self.mine.borrow_mut().tenures.values_mut().for_each(|tenant| tenant.busy = false);
        let reading = self.mine.borrow().reading.iter().copied().collect();
        self.write_all(reading, Change::Save).await;
        let held: Vec<usize> = self.mine.borrow().tenures.keys().copied().collect();
        for shard in held {
            self.unread(shard);
            self.call(CALL_MS).await;
            self.write(shard, Change::Release);
            self.mine.borrow_mut().tenures.remove(&shard);
        }
    }

    /// Reads nothing any more.
    pub(crate) fn die(&self) {
        let reading = std::mem::take(&mut self.mine.borrow_mut().reading);
        for shard in reading {
            self.world.borrow_mut().ends(shard);
        }
    }

    pub(crate) fn load(&self) -> usize {
        self.mine.borrow().reading.len()
    }

    async fn hold(&self) {
        self.list().await;
        if self.book.borrow_mut().may_skip() {
            self.renew(self.lease_ms / 6, |_| false).await;
        } else {
            self.share().await;
        }
        self.begin().await;
    }

    async fn share(&self) {
        let seen = self.look().await;
        let now_ms = self.now_ms();
        let plan = {
            let mut book = self.book.borrow_mut();
            book.look(now_ms, &seen);
            book.plan(now_ms, &seen, random)
        };
        let chosen: BTreeSet<u32> = plan.take.into_iter().collect();
        let mut missed = false;
        for shard in (0..seen.len()).filter(|shard| chosen.contains(&number(*shard))) {
            let counter = seen[shard].counter;
            if counter == 0 {
                self.call(CALL_MS).await;
                let now_ms = self.now_ms();
                self.world.borrow_mut().table.create(now_ms, shard);
            }
            self.call(CALL_MS).await;
            let taken = self.take(shard, counter, plan.steals);
            missed |= !taken;
            if taken && plan.steals {
                self.book.borrow_mut().stole(now_ms);
            }
        }
        self.book.borrow_mut().look_with(if missed { 1 } else { plan.next });
    }

    /// The shards, unless they are known.
    async fn list(&self) {
        let good_for = self.mine.borrow().good_for;
        self.mine.borrow_mut().good_for = good_for.checked_sub(1).unwrap_or(LOOKS_A_LIST - 1);
        if good_for > 0 {
            return;
        }
        let shards = self.world.borrow().settings.shards;
        for _ in 0..shards.div_ceil(SHARDS_PER_CALL) {
            self.call(LIST_MS).await;
            let now_ms = self.now_ms();
            self.world.borrow_mut().table.list_shards(now_ms);
        }
    }

    /// Every lease after renewing what is held, as the holder sees them.
    async fn look(&self) -> Vec<Seen<u32, u32>> {
        let (mut rows, mut page) = (Vec::new(), Some(0));
        while let Some(first) = page {
            self.call(PAGE_MS).await;
            let now_ms = self.now_ms();
            let mut world = self.world.borrow_mut();
            let (items, next) = world.table.page(now_ms, first);
            rows.extend(items.iter().map(|item| (item.owner, item.counter)));
            page = next;
        }
        self.renew(self.lease_ms / 6, |shard| rows[shard].0 != Some(self.id)).await;
        let mut seen = Vec::with_capacity(rows.len());
        for (shard, (owner, counter)) in rows.into_iter().enumerate() {
            let owner = Owner::of(self.mine.borrow().tenures.contains_key(&shard), owner, &self.id);
            seen.push(Seen { shard: number(shard), owner, counter, ended: false });
        }
        seen
    }

    /// Stops reading what was lost, and loads the cuts of what was taken.
    async fn begin(&self) {
        let (lost, new): (Vec<usize>, Vec<usize>) = {
            let mine = self.mine.borrow();
            let lost = mine.reading.iter().filter(|shard| !mine.tenures.contains_key(shard)).copied();
            let new = mine.tenures.keys().filter(|shard| !mine.reading.contains(shard)).copied();
            (lost.collect(), new.collect())
        };
        for shard in lost {
            self.unread(shard);
        }
        if new.is_empty() {
            return;
        }
        self.keep().await;
        self.call(CALL_MS).await;
        for shard in new {
            let now_ms = self.now_ms();
            self.world.borrow_mut().table.read(now_ms, shard);
            if self.mine.borrow().tenures.contains_key(&shard) {
                self.read(shard);
            }
        }
    }

    /// Renews what was not written for half a lease, unless that was just done.
    async fn keep(&self) {
        let half = self.lease_ms / 2;
        if self.now_ms() >= self.mine.borrow().renewed_ms + half {
            self.renew(half, |_| false).await;
        }
    }

    async fn renew(&self, after_ms: u64, doubtful: impl Fn(usize) -> bool) {
        self.write_all(self.to_renew(after_ms, doubtful), Change::Renew).await;
    }

    fn to_renew(&self, after_ms: u64, doubtful: impl Fn(usize) -> bool) -> Vec<usize> {
        let (now_ms, mut mine) = (self.now_ms(), self.mine.borrow_mut());
        mine.renewed_ms = now_ms;
        let old = |shard: &usize, tenant: &Tenant| {
            !tenant.busy && (now_ms >= tenant.written_ms + after_ms || doubtful(*shard))
        };
        let due = mine.tenures.iter().filter(|(shard, tenant)| old(shard, tenant));
        due.map(|(shard, _)| *shard).collect()
    }

    /// Makes the same change to each, all at once.
    async fn write_all(&self, shards: Vec<usize>, change: Change) {
        let began = Instant::now();
        let mut answers: Vec<(u64, usize)> = Vec::with_capacity(shards.len());
        for shard in shards {
            if let Some(tenant) = self.mine.borrow_mut().tenures.get_mut(&shard) {
                tenant.busy = true;
            }
            answers.push((between(CALL_MS.0, CALL_MS.1), shard));
        }
        answers.sort_unstable();
        for (after_ms, shard) in answers {
            sleep_until(began + Duration::from_millis(after_ms)).await;
            self.write(shard, change);
        }
    }

    /// A write to a lease that is held, at this moment; lost if it is another's.
    fn write(&self, shard: usize, change: Change) {
        let now_ms = self.now_ms();
        let mut mine = self.mine.borrow_mut();
        let Some(tenant) = mine.tenures.get_mut(&shard) else { return };
        tenant.busy = false;
        let mut world = self.world.borrow_mut();
        if world.table.write(now_ms, shard, (tenant.counter, Some(self.id)), change).is_ok() {
            tenant.counter += 1;
            tenant.written_ms = now_ms;
            if change == Change::Save {
                tenant.save_at_ms = now_ms + SAVE_EVERY_MS;
                world.saved(shard, self.id);
            }
            return;
        }
        mine.tenures.remove(&shard);
        world.counts.lost_leases += 1;
        drop((mine, world));
        if change == Change::Save {
            self.unread(shard);
        }
    }

    fn take(&self, shard: usize, counter: u64, steal: bool) -> bool {
        let now_ms = self.now_ms();
        let mut world = self.world.borrow_mut();
        let taken = world.table.write(now_ms, shard, (counter, None), Change::Take(self.id)).is_ok();
        world.took(shard, self.id, taken, steal);
        drop(world);
        if taken {
            self.took(shard, counter + 1);
        }
        taken
    }

    fn took(&self, shard: usize, counter: u64) {
        let now_ms = self.now_ms();
        let save_at_ms = now_ms + between(1, SAVE_EVERY_MS);
        let tenant = Tenant { counter, written_ms: now_ms, save_at_ms, busy: false };
        self.mine.borrow_mut().tenures.insert(shard, tenant);
    }

    fn read(&self, shard: usize) {
        if self.mine.borrow_mut().reading.insert(shard) {
            self.world.borrow_mut().begins(shard);
        }
    }

    fn unread(&self, shard: usize) {
        if self.mine.borrow_mut().reading.remove(&shard) {
            self.world.borrow_mut().ends(shard);
        }
    }

    async fn call(&self, (least, most): (u64, u64)) {
        let takes_ms = between(least, most);
        sleep(Duration::from_millis(takes_ms)).await;
    }

    fn now_ms(&self) -> u64 {
        self.world.borrow().now_ms()
    }
}

/// The name of a shard.
fn number(shard: usize) -> u32 {
    u32::try_from(shard).expect("fewer than four billion shards")
}
