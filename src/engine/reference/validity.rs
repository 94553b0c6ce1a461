//! Who owned a host when: the rows of one host, flattened into steps of time. Knows no hosts.

use std::collections::BTreeSet;

use crate::engine::{reference::Resolution, time::Timestamp};

/// When a row is valid: `from` inclusive, `to` exclusive, except that [`Timestamp::MAX`] has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Period {
    /// Of rows without validity.
    pub(super) const ALWAYS: Self = Self { from: Timestamp::MIN, to: Timestamp::MAX };
}

/// One row of a host, as far as time is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) period: Period,
    pub(super) owner: u32,
}

/// The chains that [`Resolution::ByTime`] names.
#[derive(Clone, Debug, Default)]
pub(super) struct Timelines {
    steps: Vec<Step>,
    lines: Vec<Timeline>,
}

/// From this time on, until the next step, the host belongs to `owner`, or to whom the block around it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: Timestamp,
    pub(super) owner: Option<u32>,
}

/// Where the steps of one host begin, and who owns it before the first one and where they have a gap. They end where
/// those of the next host begin.
#[derive(Clone, Copy, Debug)]
struct Timeline {
    start: u32,
    around: Resolution,
}

impl Timelines {
    /// Flattens the rows of one host, in the order of the file, of which the last valid one wins; where none is valid,
    /// `around` decides. Calls `overlap(later, earlier)` with the indices of rows that are valid at the same time.
    pub(super) fn add(
        &mut self,
        claims: &[Claim],
        around: Resolution,
        overlap: impl FnMut(usize, usize),
    ) -> Resolution {
        let start = self.steps.len();
        flatten(claims, &mut self.steps, overlap);
        if let Some([Step { from: Timestamp::MIN, owner: Some(owner) }]) = self.steps.get(start..) {
            let owner = *owner;
            self.steps.truncate(start);
            return Resolution::Owned(owner);
        }
        let (Ok(index), Ok(start)) = (u32::try_from(self.lines.len()), u32::try_from(start)) else {
            return around;
        };
        self.lines.push(Timeline { start, around });
        Resolution::ByTime(index)
    }

    /// The owner at `time`. Goes outwards from block to block, so it ends.
    pub(super) fn owner_at(&self, mut resolution: Resolution, time: Timestamp) -> Option<u32> {
        loop {
            match resolution {
                Resolution::Unowned => return None,
                Resolution::Owned(owner) => return Some(owner),
                Resolution::ByTime(index) => {
                    let line = self.lines.get(index as usize)?;
                    let steps = self.steps(index);
                    let behind = steps.partition_point(|step| step.from <= time);
                    match steps.get(behind.wrapping_sub(1)).and_then(|step| step.owner) {
                        Some(owner) => return Some(owner),
                        None => resolution = line.around,
                    }
                }
            }
        }
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.steps.capacity() * size_of::<Step>() + self.lines.capacity() * size_of::<Timeline>()
    }

    /// The host's own steps, gaps as they are.
    pub(super) fn steps(&self, index: u32) -> &[Step] {
        let Some(line) = self.lines.get(index as usize) else { return &[] };
        let next = self.lines.get(index as usize + 1);
        let end = next.map_or(self.steps.len(), |next| next.start as usize);
        self.steps.get(line.start as usize..end).unwrap_or_default()
    }
}

/// Sweeps over the beginnings and ends of all rows; of those valid at once, the last in the file is on top.
fn flatten(claims: &[Claim], steps: &mut Vec<Step>, mut overlap: impl FnMut(usize, usize)) {
    let first = steps.len();
    let mut edges = Vec::with_capacity(claims.len() * 2);
    for (index, Claim { period, .. }) in claims.iter().enumerate() {
        edges.push((period.from, true, index));
        if period.to != Timestamp::MAX {
            edges.push((period.to, false, index));
        }
    }
    edges.sort_unstable(); // at the same time, ends come before beginnings
    let mut valid = BTreeSet::new();
    for edges in edges.chunk_by(|left, right| left.0 == right.0) {
        for &(_, begins, index) in edges {
            if !begins {
                valid.remove(&index);
                continue;
            }
            if let Some(&other) = valid.last() {
                overlap(index.max(other), index.min(other));
            }
            valid.insert(index);
        }
        let top = valid.last().and_then(|&index| claims.get(index));
        let owner = top.map(|claim| claim.owner);
        let Some(&(from, ..)) = edges.first() else {
            continue;
        };
        push_step(steps, first, Step { from, owner });
    }
}

/// Appends a step behind `first` unless it changes nothing.
fn push_step(steps: &mut Vec<Step>, first: usize, step: Step) {
    let before = steps.get(first..).and_then(<[Step]>::last).and_then(|last| last.owner);
    if before != step.owner {
        steps.push(step);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn claim(from: i64, to: i64, owner: u32) -> Claim {
        let period = Period { from: at(from), to: at(to) };
        Claim { period, owner }
    }

    #[test]
    fn rows_without_validity_need_no_timeline() {
        let mut timelines = Timelines::default();
        let mut overlaps = Vec::new();
        let always = |owner| Claim { period: Period::ALWAYS, owner };
        let resolution =
            timelines.add(&[always(1), always(2), always(3)], Resolution::Unowned, |later, earlier| {
                overlaps.push((later, earlier));
            });
        assert_eq!(resolution, Resolution::Owned(3));
        assert_eq!(overlaps, [(1, 0), (2, 1)]);
        assert!(timelines.steps.is_empty());
    }

    #[test]
    fn gaps_fall_to_the_block_around_and_a_later_row_wins() {
        let mut timelines = Timelines::default();
        let block = timelines.add(&[claim(0, 100, 7)], Resolution::Unowned, |_, _| {});
        let host = timelines.add(&[claim(10, 40, 1), claim(20, 30, 2)], block, |_, _| {});
        for (time, owner) in [
            (-1, None),
            (0, Some(7)),
            (10, Some(1)),
            (20, Some(2)),
            (29, Some(2)),
            (30, Some(1)),
            (40, Some(7)),
            (100, None),
        ] {
            assert_eq!(timelines.owner_at(host, at(time)), owner, "{time}");
        }
        assert_eq!(timelines.owner_at(host, Timestamp::MIN), None);
        assert_eq!(timelines.owner_at(host, Timestamp::MAX), None);
        assert_eq!(timelines.owner_at(Resolution::ByTime(99), at(0)), None, "of another reference");
    }

    #[test]
    fn rows_that_touch_do_not_overlap() {
        let mut timelines = Timelines::default();
        let touching = [claim(0, 10, 1), claim(10, 20, 2), claim(20, i64::MAX, 2)];
        let chain = timelines.add(&touching, Resolution::Unowned, |_, _| panic!("no overlap"));
        assert_eq!(timelines.owner_at(chain, Timestamp::MAX), Some(2), "no end is no end");
    }

    proptest! {
        #[test]
        fn the_last_valid_row_wins_at_every_time(
            rows in prop::collection::vec((0_i64..9, 1_i64..9, 0_u32..4), 0..8),
        ) {
            let claims: Vec<Claim> = rows.iter().map(|&(from, length, owner)| claim(from, from + length, owner)).collect();
            let mut timelines = Timelines::default();
            let chain = timelines.add(&claims, Resolution::Owned(9), |_, _| {});
            for time in -1..20 {
                let last = rows.iter().rev().find(|(from, length, _)| (*from..from + length).contains(&time));
                let expected = last.map_or(9, |row| row.2);
                prop_assert_eq!(timelines.owner_at(chain, at(time)), Some(expected), "{}", time);
            }
        }
    }
}
