//! The table of leases in memory, with DynamoDB's conditions and what it bills. Knows no worker's rules.

use std::collections::BTreeMap;

/// A worker, by the order of their starts.
pub(crate) type WorkerId = u32;

/// What DynamoDB bills a write by, in bytes (developer guide, write consumption).
const WRITE_UNIT: usize = 1_024;
/// The same for a consistent read; one without consistency is billed half (developer guide, read consumption).
const READ_UNIT: usize = 4_096;
/// What a page of a `Scan` ends with.
const PAGE: usize = 1_024 * 1_024;
/// Names and values of an item without owner, position and cut: what `backend::aws::table` creates.
const NEW_ITEM: usize = "leaseKey".len()
    + "logtally/analyze/logtally-input/shardId-000000000000".len()
    + "leaseCounter".len()
    + 2
    + "checkpoint".len()
    + "TRIM_HORIZON".len()
    + "checkpointSubSequenceNumber".len()
    + 1
    + "ownerSwitchesSinceCheckpoint".len()
    + 2;
/// What taking adds: the owner is the worker's name and 16 digits.
const OWNER: usize = "leaseOwner".len() + "ip-10-0-0-1.ec2.internal-0123456789abcdef".len();
/// What saving adds besides the cut: the position twice (56 digits), and `outboxPending`, `saves`, `saved`.
const SAVED: usize = 56 - "TRIM_HORIZON".len() + "position".len() + 60 + "outboxPending".len() + 1 + 10 + 13;
/// The pointer to a cut in S3.
const CUT_OBJECT: usize = "cutObject".len() + 150;
/// The largest cut that stays in the item where there is a bucket (`backend::aws::cut`).
const CUT_IN_ITEM: usize = 4_096;

/// The item of a lease.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item {
    pub(crate) exists: bool,
    pub(crate) owner: Option<WorkerId>,
    pub(crate) counter: u64,
    pub(crate) saved: bool,
}

/// What to change of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing but the counter.
    Renew,
    Take(WorkerId),
    Release,
    Save,
}

/// What DynamoDB billed in one second, and Kinesis answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Billed {
    /// In halves of units.
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// Calls of `ListShards`.
    pub(crate) lists: u64,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    items: Vec<Item>,
    cut_bytes: usize,
    billed: BTreeMap<u64, Billed>,
}

impl Table {
    pub(crate) fn new(shards: usize, cut_bytes: usize) -> Self {
        Self { items: vec![Item::default(); shards], cut_bytes, billed: BTreeMap::new() }
    }

    /// As if `owner` had held the shard for long.
    pub(crate) fn settle(&mut self, shard: usize, owner: WorkerId) {
        self.items[shard] = Item { exists: true, owner: Some(owner), counter: 1, saved: true };
    }

    /// `GetItem`, consistently read; a missing item is billed as well.
    pub(crate) fn read(&mut self, at_ms: u64, shard: usize) {
        let units = self.bytes(shard).div_ceil(READ_UNIT).max(1) as u64;
        self.at(at_ms).reads += 2 * units;
    }

    /// A page of a `Scan` without consistency, from this item on: all its bytes are billed at once. What it holds, and where
    /// the next one begins.
    pub(crate) fn page(&mut self, at_ms: u64, first: usize) -> (&[Item], Option<usize>) {
        let (mut bytes, mut end) = (0, first);
        while end < self.items.len() && bytes < PAGE {
            bytes += self.bytes(end);
            end += 1;
        }
        self.at(at_ms).reads += bytes.div_ceil(READ_UNIT).max(1) as u64;
        (&self.items[first..end], Some(end).filter(|end| *end < self.items.len()))
    }

    /// Makes the item unless it is there; a refusal is billed as well.
    pub(crate) fn create(&mut self, at_ms: u64, shard: usize) {
        let item = &mut self.items[shard];
        item.exists = true;
        self.bill_write(at_ms, shard, 0);
    }

    /// Makes `change` if the counter is still `counter` and, where it is given, the owner still `owner`; else what is
    /// there.
    pub(crate) fn write(
        &mut self,
        at_ms: u64,
        shard: usize,
        (counter, owner): (u64, Option<WorkerId>),
        change: Change,
    ) -> Result<(), Item> {
        let before = self.bytes(shard);
        let item = &mut self.items[shard];
        if !item.exists || item.counter != counter || owner.is_some() && item.owner != owner {
            let there = item.clone();
            self.bill_write(at_ms, shard, before);
            return Err(there);
        }
        item.counter += 1;
        match change {
            Change::Renew => {}
            Change::Take(owner) => item.owner = Some(owner),
            Change::Release => item.owner = None,
            Change::Save => item.saved = true,
        }
        self.bill_write(at_ms, shard, before);
        Ok(())
    }

    pub(crate) fn list_shards(&mut self, at_ms: u64) {
        self.at(at_ms).lists += 1;
    }

    /// By second.
    pub(crate) fn billed(&self) -> &BTreeMap<u64, Billed> {
        &self.billed
    }

    /// The larger of the item before and after (developer guide, write consumption).
    fn bill_write(&mut self, at_ms: u64, shard: usize, before: usize) {
        let units = self.bytes(shard).max(before).div_ceil(WRITE_UNIT).max(1) as u64;
        self.at(at_ms).writes += units;
    }

    fn bytes(&self, shard: usize) -> usize {
        let Item { exists, owner, saved, .. } = &self.items[shard];
        let cut = if self.cut_bytes <= CUT_IN_ITEM { "cut".len() + self.cut_bytes } else { CUT_OBJECT };
        usize::from(*exists) * NEW_ITEM
            + usize::from(owner.is_some()) * OWNER
            + usize::from(*saved) * (SAVED + cut)
    }

    fn at(&mut self, at_ms: u64) -> &mut Billed {
        self.billed.entry(at_ms / 1_000).or_default()
    }
}
