//! What all workers share: the table, the time, and who reads what. Decides nothing.

use tokio::time::Instant;

use super::table::{Table, WorkerId};

/// How large the fleet is, and how it is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) shards: usize,
    pub(crate) workers: usize,
    pub(crate) seed: u64,
    pub(crate) lease_ms: u64,
    /// A compressed cut; a large one goes to S3, and the item points to it.
    pub(crate) cut_bytes: usize,
    /// When to give up waiting for balance, in milliseconds after the event.
    pub(crate) limit_ms: u64,
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) takes: u64,
    pub(crate) steals: u64,
    /// Leases that another worker took between a look and the write.
    pub(crate) lost_races: u64,
    /// Leases that a worker believed to hold, and did not.
    pub(crate) lost_leases: u64,
    pub(crate) saves: u64,
}

/// The services, and a view of everything that no worker has.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) table: Table,
    pub(crate) counts: Counts,
    /// What must never happen.
    pub(crate) wrong: Vec<String>,
    began: Instant,
    /// Who took each shard last.
    takers: Vec<Option<WorkerId>>,
    readers: Vec<Readers>,
    pub(crate) unread: usize,
    longest_unread_ms: u64,
    longest_twice_ms: u64,
}

/// Of one shard.
#[derive(Clone, Copy, Debug)]
struct Readers {
    count: usize,
    /// When that was last 0, or last 1.
    since_ms: u64,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            table: Table::new(settings.shards, settings.cut_bytes),
            counts: Counts::default(),
            wrong: Vec::new(),
            began: Instant::now(),
            takers: vec![None; settings.shards],
            readers: vec![Readers { count: 0, since_ms: 0 }; settings.shards],
            unread: settings.shards,
            longest_unread_ms: 0,
            longest_twice_ms: 0,
            settings,
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A shard is read by one more.
    pub(crate) fn begins(&mut self, shard: usize) {
        let now_ms = self.now_ms();
        let readers = &mut self.readers[shard];
        if readers.count == 0 {
            self.unread -= 1;
            self.longest_unread_ms = self.longest_unread_ms.max(now_ms - readers.since_ms);
        }
        *readers = Readers { count: readers.count + 1, since_ms: now_ms };
    }

    /// A shard is read by one less.
    pub(crate) fn ends(&mut self, shard: usize) {
        let now_ms = self.now_ms();
        let readers = &mut self.readers[shard];
        if readers.count > 1 {
            self.longest_twice_ms = self.longest_twice_ms.max(now_ms - readers.since_ms);
        } else {
            self.unread += 1;
        }
        *readers = Readers { count: readers.count - 1, since_ms: now_ms };
    }

    pub(crate) fn took(&mut self, shard: usize, worker: WorkerId, taken: bool, steal: bool) {
        if !taken {
            self.counts.lost_races += 1;
            return;
        }
        self.takers[shard] = Some(worker);
        self.counts.takes += 1;
        self.counts.steals += u64::from(steal);
    }

    /// As if `worker` had taken the shard long ago.
    pub(crate) fn settle(&mut self, shard: usize, worker: WorkerId) {
        self.takers[shard] = Some(worker);
        self.table.settle(shard, worker);
    }

    /// A cut was saved: only who took the shard last may.
    pub(crate) fn saved(&mut self, shard: usize, worker: WorkerId) {
        self.counts.saves += 1;
        let taker = self.takers[shard];
        if taker != Some(worker) {
            let at_ms = self.now_ms();
            self.wrong.push(format!("{at_ms} ms: {worker} saved shard {shard}, which {taker:?} took"));
        }
    }

    /// Forgets what happened before now, but for who reads what.
    pub(crate) fn note_from_now(&mut self) {
        self.counts = Counts::default();
        (self.longest_unread_ms, self.longest_twice_ms) = (0, 0);
    }

    /// The longest time that a shard was read by nobody, and by two at once.
    pub(crate) fn longest_ms(&self) -> (u64, u64) {
        let now_ms = self.now_ms();
        let still = |count: usize| {
            let readers = self.readers.iter().filter(move |readers| readers.count == count);
            readers.map(|readers| now_ms - readers.since_ms).max().unwrap_or_default()
        };
        (self.longest_unread_ms.max(still(0)), self.longest_twice_ms.max(still(2)))
    }
}

/// The next number of the seed.
pub(crate) fn random() -> u64 {
    logtally::random::u64().unwrap_or_default()
}

/// In `first..=last`.
pub(crate) fn between(first: u64, last: u64) -> u64 {
    first + random() % (last - first + 1)
}
