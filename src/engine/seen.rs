//! Which bytes of which files a shard has taken: recognises what a producer sends twice. Holds only what is in flight.

use std::{collections::BTreeMap, ops::AddAssign};

use serde::{Deserialize, Serialize};

use crate::engine::{
    provenance::{Provenance, SourceId},
    time::Timestamp,
};

/// How many files a shard remembers; past it the one heard of longest ago is forgotten and counted.
pub const MAX_SOURCES: usize = 10_000;
/// How many byte ranges of one file are kept apart; past it the lowest two are joined. A producer keeps a bounded
/// number of records in flight, so only a hostile one gets there, and it can harm only its own file's count.
pub const MAX_RANGES: usize = 4_096;

/// What was taken of every file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    sources: BTreeMap<SourceId, Ranges>,
}

/// What was taken of one file: everything below `acked`, and the ranges above it, ascending and disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ranges {
    acked: u64,
    above: Vec<(u64, u64)>,
    heard: Timestamp,
    taken: Taken,
}

/// What a shard was the first to take of a file, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Bytes of the file.
    pub bytes: u64,
    /// Lines, counted or malformed.
    pub lines: u64,
}

impl AddAssign for Taken {
    fn add_assign(&mut self, Self { bytes, lines }: Self) {
        // Who writes to the stream may claim any range of any file.
        self.bytes = self.bytes.saturating_add(bytes);
        self.lines = self.lines.saturating_add(lines);
    }
}

impl Seen {
    /// Whether any byte of the record may have been taken before.
    #[must_use]
    pub fn overlaps(&self, record: &Provenance) -> bool {
        self.sources.get(&record.source).is_some_and(|ranges| ranges.overlaps(record.start, record.end))
    }

    /// Whether the byte at `offset` was taken before. A line was, if its first byte was.
    #[must_use]
    pub fn holds(&self, source: SourceId, offset: u64) -> bool {
        self.sources.get(&source).is_some_and(|ranges| ranges.overlaps(offset, offset + 1))
    }

    /// Takes the record; returns how many other sources were forgotten to make room.
    pub fn take(&mut self, record: &Provenance, arrival: Timestamp) -> u64 {
        let ranges = self.sources.entry(record.source).or_default();
        ranges.heard = ranges.heard.max(arrival);
        ranges.taken += Taken { bytes: ranges.missing(record.start, record.end), lines: 0 };
        ranges.insert(record.start, record.end);
        ranges.acknowledge(record.acked);
        self.forget()
    }

    /// Enters how many lines of a file were new.
    pub fn count(&mut self, source: SourceId, lines: u64) {
        if let Some(ranges) = self.sources.get_mut(&source) {
            ranges.taken += Taken { bytes: 0, lines };
        }
    }

    /// What was taken of each file, each byte and line once. What a parent took is in the parent's books.
    pub fn taken(&self) -> impl Iterator<Item = (SourceId, Taken)> {
        self.sources.iter().map(|(source, ranges)| (*source, ranges.taken))
    }

    /// Everything that either knows: what a child shard inherits from its parents.
    pub fn absorb(&mut self, other: Self) {
        for (source, theirs) in other.sources {
            let ours = self.sources.entry(source).or_default();
            ours.heard = ours.heard.max(theirs.heard);
            for (start, end) in theirs.above {
                ours.insert(start, end);
            }
            ours.acknowledge(theirs.acked);
        }
        self.forget();
    }

    /// How many files are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether nothing was taken yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    fn forget(&mut self) -> u64 {
        let mut forgotten = 0;
        while self.sources.len() > MAX_SOURCES {
            let oldest =
                self.sources.iter().min_by_key(|(_, ranges)| ranges.heard).map(|(&source, _)| source);
            if let Some(source) = oldest {
                self.sources.remove(&source);
            }
            forgotten += 1;
        }
        forgotten
    }
}

impl Ranges {
    fn overlaps(&self, start: u64, end: u64) -> bool {
        if start < self.acked {
            return true;
        }
        let behind = self.above.partition_point(|&(_, above_end)| above_end <= start);
        self.above.get(behind).is_some_and(|&(above_start, _)| above_start < end)
    }

    /// How many bytes of `start..end` were not taken before.
    fn missing(&self, start: u64, end: u64) -> u64 {
        let start = start.max(self.acked);
        let first = self.above.partition_point(|&(_, above_end)| above_end <= start);
        let held = self.above.iter().skip(first).take_while(|&&(above_start, _)| above_start < end);
        let held: u64 = held.map(|&(from, to)| to.min(end) - from.max(start)).sum();
        end.saturating_sub(start) - held
    }

    fn insert(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        let first = self.above.partition_point(|&(_, above_end)| above_end < start);
        let past = self.above.partition_point(|&(above_start, _)| above_start <= end);
        if let Some(&(touched, _)) = self.above.get(first).filter(|_| first < past) {
            start = start.min(touched);
        }
        if let Some(&(_, touched)) =
            past.checked_sub(1).and_then(|last| self.above.get(last)).filter(|_| first < past)
        {
            end = end.max(touched);
        }
        self.above.splice(first..past, [(start, end)]);
        if self.above.len() > MAX_RANGES {
            let (lowest, _) = self.above.remove(0);
            if let Some(next) = self.above.first_mut() {
                next.0 = lowest;
            }
        }
    }

    fn acknowledge(&mut self, acked: u64) {
        self.acked = self.acked.max(acked);
        let acked = self.acked;
        self.above.retain_mut(|(start, end)| {
            *start = (*start).max(acked);
            *start < *end
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::provenance::Node;

    const SOURCE: SourceId = SourceId { node: Node(1), generation: 1 };

    fn record(start: u64, end: u64, acked: u64) -> Provenance {
        Provenance { source: SOURCE, start, end, acked }
    }

    proptest! {
        #[test]
        fn it_holds_exactly_what_was_taken(
            takes in prop::collection::vec((0_u64..60, 0_u64..12, 0_u64..40), 0..40),
            split in 0_usize..40,
        ) {
            let (mut seen, mut other, mut model, mut acked) =
                (Seen::default(), Seen::default(), BTreeSet::new(), 0);
            let mut taken = 0;
            for (index, (start, length, ack)) in takes.into_iter().enumerate() {
                let part = if index < split { &mut seen } else { &mut other };
                if index < split {
                    let new = (start..start + length).filter(|byte| *byte >= acked && !model.contains(byte));
                    taken += new.count() as u64;
                }
                part.take(&record(start, start + length, ack), Timestamp::MIN);
                model.extend(start..start + length);
                acked = acked.max(ack);
            }
            prop_assert_eq!(seen.taken().map(|(_, taken)| taken.bytes).sum::<u64>(), taken);
            seen.absorb(other);
            prop_assert_eq!(seen.taken().map(|(_, taken)| taken.bytes).sum::<u64>(), taken, "of this shard alone");
            for offset in 0..80 {
                let expected = offset < acked || model.contains(&offset);
                prop_assert_eq!(seen.holds(SOURCE, offset), expected, "{} in {:?}", offset, seen);
            }
        }
    }

    #[test]
    fn an_acknowledged_file_costs_one_entry() {
        let mut seen = Seen::default();
        for n in 0..100_000 {
            seen.take(&record(n * 10, n * 10 + 10, n * 10), Timestamp::MIN);
        }
        assert_eq!(seen.sources[&SOURCE].above, [(999_990, 1_000_000)]);
        assert!(seen.overlaps(&record(0, 10, 0)) && !seen.overlaps(&record(1_000_000, 1_000_001, 0)));
    }

    #[test]
    fn past_the_bounds_the_oldest_goes_and_is_counted() {
        let mut seen = Seen::default();
        let mut forgotten = 0;
        for generation in 0..=MAX_SOURCES as u64 {
            let source = SourceId { node: Node(1), generation };
            let heard = Timestamp::from_millis(i64::try_from(generation).unwrap());
            forgotten += seen.take(&Provenance { source, start: 0, end: 1, acked: 0 }, heard);
        }
        assert_eq!((forgotten, seen.len()), (1, MAX_SOURCES));
        assert!(!seen.holds(SourceId { node: Node(1), generation: 0 }, 0));

        let mut scattered = Seen::default();
        for n in 0..=MAX_RANGES as u64 {
            scattered.take(&record(n * 2, n * 2 + 1, 0), Timestamp::MIN);
        }
        assert_eq!(scattered.sources[&SOURCE].above.len(), MAX_RANGES);
        let held: Vec<bool> = (0..6).map(|offset| scattered.holds(SOURCE, offset)).collect();
        assert_eq!(held, [true, true, true, false, true, false], "the lowest two are joined, and no others");
    }

    /// A shard that heard of so many files, one after the other.
    fn many(node: u64, files: usize, first_heard: i64) -> Seen {
        let mut seen = Seen::default();
        for generation in 0..files as u64 {
            let source = SourceId { node: Node(node), generation };
            let heard = Timestamp::from_millis(first_heard + i64::try_from(generation).unwrap());
            seen.take(&Provenance { source, start: 0, end: 1, acked: 0 }, heard);
        }
        seen
    }

    fn holds(seen: &Seen, node: u64, generation: u64) -> bool {
        seen.holds(SourceId { node: Node(node), generation }, 0)
    }

    #[test]
    fn who_was_heard_of_again_is_not_the_one_heard_of_longest_ago() {
        let mut seen = many(1, MAX_SOURCES, 0);
        let take = |seen: &mut Seen, generation, start, heard| {
            let source = SourceId { node: Node(1), generation };
            seen.take(&Provenance { source, start, end: start + 1, acked: 0 }, Timestamp::from_millis(heard))
        };
        assert_eq!(take(&mut seen, 0, 1, 1_000_000), 0);
        // An arrival of before makes it no older.
        assert_eq!(take(&mut seen, 0, 2, 0), 0);
        assert_eq!(take(&mut seen, 1_000_000, 0, 1_000_001), 1);
        assert!(holds(&seen, 1, 0) && !holds(&seen, 1, 1) && holds(&seen, 1, 2));
    }

    #[test]
    fn of_what_two_shards_remember_the_files_heard_of_last_are_kept() {
        // Of both it heard: of the first later in the one, of the second later in the other.
        let mut seen = many(1, 2, 0);
        seen.take(&record(1, 2, 0), Timestamp::from_millis(9));
        let mut other = many(1, 2, 4);
        other.take(&record(1, 2, 0), Timestamp::from_millis(4));
        seen.absorb(other);
        seen.absorb(many(2, MAX_SOURCES - 1, 10));
        assert_eq!(seen.len(), MAX_SOURCES);
        assert!(!holds(&seen, 1, 0) || !holds(&seen, 1, 1));
        let heard =
            |generation| seen.sources.get(&SourceId { node: Node(1), generation }).map(|ranges| ranges.heard);
        let kept: Vec<Timestamp> = [0, 1].into_iter().filter_map(heard).collect();
        assert_eq!(kept, [Timestamp::from_millis(9)]);
        assert!(holds(&seen, 2, 0));

        // Those of a parent that are older than all of the others are forgotten, and no others.
        let mut seen = many(1, MAX_SOURCES, 100);
        seen.absorb(many(2, 3, 0));
        assert!(holds(&seen, 1, 0) && (0..3).all(|generation| !holds(&seen, 2, generation)));
        let mut seen = many(1, MAX_SOURCES, 0);
        seen.absorb(many(2, 3, 1_000_000));
        assert_eq!(seen.len(), MAX_SOURCES);
        assert!((0..3).all(|generation| !holds(&seen, 1, generation) && holds(&seen, 2, generation)));
        assert!(holds(&seen, 1, 3));
    }

    #[test]
    fn what_two_shards_took_of_an_absurd_file_saturates() {
        let whole = |acked| {
            let mut seen = Seen::default();
            seen.take(&record(0, u64::MAX, acked), Timestamp::MIN);
            seen.take(&record(0, u64::MAX, u64::MAX), Timestamp::MIN);
            seen.taken().map(|(_, taken)| taken).next().unwrap()
        };
        let mut both = whole(0);
        assert_eq!(both.bytes, u64::MAX);
        both += whole(7);
        assert_eq!(both.bytes, u64::MAX);
    }
}
