//! The end of each shard, as this process last wrote it: readers here wait for it, and get what was just appended
//! without a way through the file. Knows nothing of other processes' writes, and holds only what is durable.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::engine::time::Timestamp;

/// Payload kept for readers, in bytes as appended, over all shards; what is older is read from the file.
const FRESH_BYTES: usize = 16 * 1024 * 1024;

/// A record that was just appended.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    pub(super) shard: i64,
    pub(super) seq: i64,
    pub(super) arrival: Timestamp,
    pub(super) key: String,
    pub(super) data: Bytes,
}

/// The ends of all shards that this process has written or reads.
#[derive(Debug, Default)]
pub(super) struct Tips(Mutex<HashMap<i64, Tip>>);

#[derive(Debug)]
struct Tip {
    last: watch::Sender<i64>,
    /// Without gaps in their sequence numbers.
    fresh: VecDeque<Fresh>,
    bytes: usize,
}

impl Tips {
    /// These records, ascending in each shard, are durable now.
    pub(super) fn add(&self, records: &[Fresh]) {
        let mut tips = self.lock();
        let budget = FRESH_BYTES / tips.len().max(1);
        for record in records {
            tips.entry(record.shard).or_default().push(record, budget);
        }
        for record in records {
            if let Some(tip) = tips.get(&record.shard) {
                tip.last.send_if_modified(|last| {
                    let news = record.seq > *last;
                    *last = record.seq.max(*last);
                    news
                });
            }
        }
    }

    /// Follows the end of a shard.
    pub(super) fn watch(&self, shard: i64) -> watch::Receiver<i64> {
        self.lock().entry(shard).or_default().last.subscribe()
    }

    /// The records behind `position`, up to `records` or `bytes` of them, and whether these are the last; `None` if
    /// they are not at hand.
    pub(super) fn behind(
        &self,
        shard: i64,
        position: i64,
        bytes: usize,
        records: usize,
    ) -> Option<(Vec<Fresh>, bool)> {
        let tips = self.lock();
        let fresh = &tips.get(&shard)?.fresh;
        let skip = usize::try_from(position + 1 - fresh.front()?.seq).ok()?;
        let mut taken = 0;
        let found: Vec<Fresh> = fresh
            .iter()
            .skip(skip)
            .take(records)
            .take_while(|record| {
                let room = taken < bytes;
                taken += record.data.len();
                room
            })
            .cloned()
            .collect();
        let last = skip + found.len() == fresh.len();
        (!found.is_empty()).then_some((found, last))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Tip>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Tip {
    fn default() -> Self {
        Self { last: watch::Sender::new(0), fresh: VecDeque::new(), bytes: 0 }
    }
}

impl Tip {
    /// Keeps a record if anybody reads this shard here, and forgets the oldest past `budget`.
    fn push(&mut self, record: &Fresh, budget: usize) {
        let follows = self.fresh.back().is_none_or(|last| last.seq + 1 == record.seq);
        if !follows || self.last.receiver_count() == 0 {
            self.fresh.clear();
            self.bytes = 0;
        }
        if self.last.receiver_count() == 0 {
            return;
        }
        self.bytes += record.data.len();
        self.fresh.push_back(record.clone());
        while self.bytes > budget
            && let Some(oldest) = self.fresh.pop_front()
        {
            self.bytes -= oldest.data.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(seq: i64, len: usize) -> Fresh {
        Fresh {
            shard: 1,
            seq,
            arrival: Timestamp::from_millis(seq),
            key: String::new(),
            data: vec![0; len].into(),
        }
    }

    fn seqs(found: Option<(Vec<Fresh>, bool)>) -> Option<(Vec<i64>, bool)> {
        found.map(|(records, last)| (records.iter().map(|record| record.seq).collect(), last))
    }

    #[test]
    fn gives_what_follows_a_position_and_only_without_gaps() {
        let tips = Tips::default();
        let watched = tips.watch(1);
        tips.add(&[fresh(1, 10), fresh(2, 10), fresh(3, 10)]);
        assert_eq!(*watched.borrow(), 3);
        assert_eq!(seqs(tips.behind(1, 1, 100, 10)), Some((vec![2, 3], true)));
        assert_eq!(seqs(tips.behind(1, 0, 15, 10)), Some((vec![1, 2], false)));
        assert_eq!(seqs(tips.behind(1, 0, 100, 1)), Some((vec![1], false)));
        assert_eq!(seqs(tips.behind(1, 3, 100, 10)), None);
        assert_eq!(seqs(tips.behind(2, 0, 100, 10)), None);
        tips.add(&[fresh(5, 10)]);
        assert_eq!(seqs(tips.behind(1, 3, 100, 10)), None, "another process wrote 4");
        assert_eq!(seqs(tips.behind(1, 4, 100, 10)), Some((vec![5], true)));
    }

    #[test]
    fn keeps_no_more_than_its_budget_and_nothing_for_nobody() {
        let tips = Tips::default();
        let watched = tips.watch(1);
        for seq in 1..=5 {
            tips.add(&[fresh(seq, FRESH_BYTES / 2)]);
        }
        assert_eq!(seqs(tips.behind(1, 2, usize::MAX, 10)), None);
        assert_eq!(seqs(tips.behind(1, 3, usize::MAX, 10)), Some((vec![4, 5], true)));
        tips.add(&[fresh(6, FRESH_BYTES + 1)]);
        assert_eq!(seqs(tips.behind(1, 5, usize::MAX, 10)), None, "too large to keep");
        drop(watched);
        tips.add(&[fresh(7, 1)]);
        assert_eq!(seqs(tips.behind(1, 6, usize::MAX, 10)), None);
    }
}
