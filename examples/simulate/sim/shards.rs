//! A stream in memory: shards that split and merge, and keep everything. Asks no clock.

use std::time::Duration;

use bytes::Bytes;
use logtally::{
    backend::{Amount, Backlog, Outgoing, SequenceNumber, Shard, ShardId},
    engine::time::Timestamp,
};
use md5::{Digest, Md5};

use super::random::Random;

/// How long a list may show what was before a split or merge.
const STALE: Duration = Duration::from_secs(2);

/// The shards of one stream, parents before children.
#[derive(Debug)]
pub(crate) struct Shards(Vec<Kept>);

/// A shard and everything it took.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) shard: Shard,
    born: Duration,
    /// The sequence number of a record is its place here, from 1.
    pub(crate) records: Vec<Record>,
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) arrival: Timestamp,
    pub(crate) key: String,
    pub(crate) data: Bytes,
}

impl Kept {
    fn new(born: Duration, number: usize, range: (u128, u128), parents: Vec<ShardId>) -> Self {
        let id = ShardId(format!("shardId-{number:012}"));
        let shard = Shard { id, first_hash: range.0, last_hash: range.1, parents, closed: false };
        Self { shard, born, records: Vec::new() }
    }

    pub(crate) fn backlog(
        &self,
        after: usize,
        position: impl Fn(usize, Timestamp) -> SequenceNumber,
    ) -> Backlog {
        let amount = |records: &[Record]| Amount {
            records: records.len() as u64,
            bytes: records.iter().map(|record| record.data.len() as u64).sum(),
        };
        let (before, behind) = self.records.split_at(after.min(self.records.len()));
        Backlog {
            before: amount(before),
            behind: amount(behind),
            oldest: behind.first().map(|record| record.arrival),
            newest: self.records.last().map(|last| position(self.records.len(), last.arrival)),
        }
    }
}

impl Shards {
    pub(crate) fn new(count: usize) -> Self {
        let step = u128::MAX / count as u128;
        let range = |number: usize| {
            let first = step * number as u128 + u128::from(number > 0);
            let last = if number + 1 == count { u128::MAX } else { step * (number as u128 + 1) };
            (first, last)
        };
        let shard = |number| Kept::new(Duration::ZERO, number, range(number), Vec::new());
        Self((0..count).map(shard).collect())
    }

    /// Every shard, and how many of them a list may not show yet: the last ones.
    pub(crate) fn list(&self, now: Duration) -> (Vec<Shard>, usize) {
        let is_new = |kept: &&Kept| !kept.shard.parents.is_empty() && now < kept.born + STALE;
        let new = self.0.iter().rev().take_while(is_new).count();
        (self.0.iter().map(|kept| kept.shard.clone()).collect(), new)
    }

    pub(crate) fn all(&self) -> &[Kept] {
        &self.0
    }

    pub(crate) fn get(&self, id: &ShardId) -> Option<&Kept> {
        self.0.iter().find(|kept| kept.shard.id == *id)
    }

    /// Takes a record; arrivals of a shard never go back.
    pub(crate) fn put(&mut self, record: &Outgoing, arrival: Timestamp) {
        let hash = |key: &str| u128::from_be_bytes(Md5::digest(key.as_bytes()).into());
        let hash = record.hash_key.unwrap_or_else(|| hash(&record.partition_key));
        let owner = self.0.iter_mut().find(|kept| {
            !kept.shard.closed && (kept.shard.first_hash..=kept.shard.last_hash).contains(&hash)
        });
        let owner = owner.expect("open shards cover every hash key");
        let arrival = owner.records.last().map_or(arrival, |last| last.arrival.max(arrival));
        let (key, data) = (record.partition_key.clone(), record.data.clone());
        owner.records.push(Record { arrival, key, data });
    }

    /// Splits an open shard, or merges it with its neighbour; what was done.
    pub(crate) fn reshard(
        &mut self,
        now: Duration,
        random: &mut Random,
    ) -> Option<(&'static str, Vec<ShardId>)> {
        let mut open: Vec<usize> = (0..self.0.len()).filter(|&at| !self.0[at].shard.closed).collect();
        open.sort_by_key(|&at| self.0[at].shard.first_hash);
        if open.len() > 1 && random.below(2) == 0 {
            let at = random.index(open.len() - 1);
            return Some(("merge", self.replace(now, &[open[at], open[at + 1]], 1)));
        }
        if open.len() >= 6 {
            return None;
        }
        let at = open[random.index(open.len())];
        Some(("split", self.replace(now, &[at], 2)))
    }

    /// Closes shards, and opens so many others in their place.
    fn replace(&mut self, now: Duration, parents: &[usize], children: usize) -> Vec<ShardId> {
        let (first, last) =
            (self.0[parents[0]].shard.first_hash, self.0[parents[parents.len() - 1]].shard.last_hash);
        let ids: Vec<ShardId> = parents.iter().map(|&parent| self.0[parent].shard.id.clone()).collect();
        for &parent in parents {
            self.0[parent].shard.closed = true;
        }
        let middle = first + (last - first) / 2;
        let ranges =
            if children == 1 { vec![(first, last)] } else { vec![(first, middle), (middle + 1, last)] };
        for range in ranges {
            self.0.push(Kept::new(now, self.0.len(), range, ids.clone()));
        }
        ids
    }
}
