//! Where in a list that is sorted by hash those of one hash stand: a hash table without holes, built all at once.

use std::{
    hash::{BuildHasher, Hash},
    ops::Range,
};

use foldhash::quality::FixedState;

/// Things of one bucket, on average: fewer make look-ups faster and the directory larger, by four bytes a bucket.
const IN_BUCKET: usize = 2;

/// How many of a bucket are looked at, however many there are: nearly always all.
const LOOKED_AT: usize = 4;

/// The buckets of a list: hashes from low to high, in equal parts. The seed is fixed so that the same file gives the
/// same table everywhere; who can choose keys is who edits the reference data, not who is logged.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    /// Where each bucket begins, and where the last one ends.
    starts: Vec<u32>,
}

impl Directory {
    /// Of a list with these hashes, from low to high.
    pub(super) fn of(hashes: impl ExactSizeIterator<Item = u32>) -> Self {
        let count = hashes.len();
        let buckets = count.div_ceil(IN_BUCKET);
        let mut starts = Vec::with_capacity(buckets + 1);
        for (index, hash) in (0..).zip(hashes) {
            while starts.len() <= bucket(hash, buckets) {
                starts.push(index);
            }
        }
        starts.resize(buckets + 1, u32::try_from(count).unwrap_or(u32::MAX));
        Self { starts }
    }

    /// The first of `list` that `is` what is looked for, which has this hash; mostly some other one is not `is`.
    #[inline]
    pub(super) fn find<'a, T>(&self, list: &'a [T], hash: u32, is: impl Fn(&T) -> bool) -> Option<&'a T> {
        let bucket = self.bucket(hash);
        let several = list.get(bucket.start..).and_then(<[T]>::first_chunk::<LOOKED_AT>);
        if let Some(several) = several {
            // All of them, also behind the bucket: no branch depends on where it is.
            let found =
                several.iter().rev().fold(None, |found, thing| if is(thing) { Some(thing) } else { found });
            if found.is_some() || bucket.len() <= LOOKED_AT {
                return found;
            }
        }
        list.get(bucket)?.iter().find(|thing| is(thing))
    }

    /// The part of the list where those of `hash` are, if there are any.
    #[inline]
    pub(super) fn bucket(&self, hash: u32) -> Range<usize> {
        let bucket = bucket(hash, self.starts.len().saturating_sub(1));
        match self.starts.get(bucket..) {
            Some([start, end, ..]) => *start as usize..*end as usize,
            _ => 0..0,
        }
    }
}

/// 32 bits, of which both ends are good.
#[inline]
pub(super) fn hash(key: impl Hash) -> u32 {
    const HASHER: FixedState = FixedState::with_seed(0);
    let hash = HASHER.hash_one(key);
    (hash >> 32) as u32
}

#[inline]
fn bucket(hash: u32, buckets: usize) -> usize {
    ((u64::from(hash) * buckets as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_is_found_in_its_bucket_and_buckets_are_small() {
        for count in [0, 1, 2, 3, 1_000, 100_000_u32] {
            let mut hashes: Vec<u32> = (0..count).map(hash).collect();
            hashes.sort_unstable();
            let directory = Directory::of(hashes.iter().copied());
            let mut largest = 0;
            for (index, &hash) in hashes.iter().enumerate() {
                let bucket = directory.bucket(hash);
                assert!(bucket.contains(&index));
                largest = largest.max(bucket.len());
            }
            assert!(largest <= 16, "{largest} of {count}");
            let all: usize = (0..=u32::MAX).step_by(1 << 20).map(|hash| directory.bucket(hash).len()).sum();
            assert!(all <= count as usize * 4_096);
        }
        assert_eq!(Directory::default().bucket(u32::MAX), 0..0);
    }
}
