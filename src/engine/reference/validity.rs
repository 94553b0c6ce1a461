//! Who owned a host when: its one row, or its several rows flattened into steps of time. Knows no hosts.

use std::collections::BTreeSet;

use crate::engine::{
    reference::{
        MAX_ROWS, Resolution,
        entry::{make_room, small},
        tag::Tag,
    },
    time::Timestamp,
};

/// When a row is valid: `from` inclusive, `to` exclusive, except that [`Timestamp::MAX`] has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Period {
    /// Of rows without validity.
    pub(super) const ALWAYS: Self = Self { from: Timestamp::MIN, to: Timestamp::MAX };

    fn contains(self, time: Timestamp) -> bool {
        self.from <= time && (time < self.to || self.to == Timestamp::MAX)
    }
}

/// One row of a host, as far as time is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) period: Period,
    pub(super) owner: u32,
}

/// What [`Resolution::ByTime`] names.
#[derive(Clone, Debug, Default)]
pub(super) struct Timelines {
    /// One a row with a validity. A host has the place of one of its rows.
    lines: Vec<Timeline>,
    /// Of hosts with several rows.
    steps: Vec<Step>,
}

/// From this time on, until the next step, the host belongs to `owner`, or to whom the block around it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: Timestamp,
    pub(super) owner: Option<u32>,
}

/// When a host belongs to whom by its own rows, and to whom at other times.
#[derive(Clone, Copy, Debug)]
struct Timeline {
    when: When,
    around: Tag,
}

#[derive(Clone, Copy, Debug)]
enum When {
    /// One row says it, as of nearly every host.
    Row { from: Stamp, to: Stamp, owner: u32 },
    /// These of all steps, of several rows.
    Steps { start: u32, end: u32 },
}

/// A time in the seven bytes that a million years need: so a timeline takes 24 bytes, and 32 with times of eight.
#[derive(Clone, Copy, Debug)]
struct Stamp([u8; 7]);

impl Stamp {
    const FIRST: i64 = i64::MIN >> 8;
    const LAST: i64 = i64::MAX >> 8;

    fn of(time: Timestamp) -> Self {
        let [bytes @ .., _] = time.as_millis().clamp(Self::FIRST, Self::LAST).to_le_bytes();
        Self(bytes)
    }

    fn time(self) -> Timestamp {
        let mut shifted = [0; 8];
        let [_, bytes @ ..] = &mut shifted;
        *bytes = self.0;
        match i64::from_le_bytes(shifted) >> 8 {
            Self::FIRST => Timestamp::MIN,
            Self::LAST => Timestamp::MAX,
            millis => Timestamp::from_millis(millis),
        }
    }
}

impl Timelines {
    /// Keeps a row that has a validity until its host is settled, and gives its place: one of as many as there are
    /// such rows.
    pub(super) fn add(&mut self, Claim { period: Period { from, to }, owner }: Claim) -> u32 {
        make_room(&mut self.lines, MAX_ROWS);
        let place = small(self.lines.len());
        let when = When::Row { from: Stamp::of(from), to: Stamp::of(to), owner };
        self.lines.push(Timeline { when, around: Tag::NONE });
        place
    }

    /// The row at `place`, whose host is not settled yet.
    pub(super) fn claim(&self, place: u32) -> Option<Claim> {
        self.lines.get(place as usize)?.when.claim()
    }

    /// Settles the host of one row, which is at `place`; while it is not valid, `around` decides.
    pub(super) fn settle(&mut self, place: u32, around: Resolution) -> Resolution {
        if let Some(line) = self.lines.get_mut(place as usize) {
            line.around = Tag::of(around);
        }
        Resolution::ByTime(place)
    }

    /// Settles the host of several rows, in the order of the file, of which the last valid one wins; one of them is at
    /// `place`. Where none is valid, `around` decides. Calls `overlap(later, earlier)` with the indices of rows that are
    /// valid at the same time.
    pub(super) fn join(
        &mut self,
        place: u32,
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
        let when = When::Steps { start: small(start), end: small(self.steps.len()) };
        if let Some(line) = self.lines.get_mut(place as usize) {
            line.when = when;
        }
        self.settle(place, around)
    }

    /// Gives back the room for further rows.
    pub(super) fn shrink(&mut self) {
        self.lines.shrink_to_fit();
        self.steps.shrink_to_fit();
    }

    /// The owner at `time`. Goes outwards from block to block, so it ends.
    pub(super) fn owner_at(&self, mut resolution: Resolution, time: Timestamp) -> Option<u32> {
        loop {
            match resolution {
                Resolution::Unowned => return None,
                Resolution::Owned(owner) => return Some(owner),
                Resolution::ByTime(place) => {
                    let line = self.lines.get(place as usize)?;
                    let own = if let Some(Claim { period, owner }) = line.when.claim() {
                        period.contains(time).then_some(owner)
                    } else {
                        let steps = self.joined(line.when);
                        let behind = steps.partition_point(|step| step.from <= time);
                        steps.get(behind.wrapping_sub(1)).and_then(|step| step.owner)
                    };
                    if own.is_some() {
                        return own;
                    }
                    // Of no block: a timeline that does not exist.
                    resolution = line.around.resolution();
                }
            }
        }
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.lines.capacity() * size_of::<Timeline>() + self.steps.capacity() * size_of::<Step>()
    }

    /// Bytes of rows, without the room for more of them.
    #[cfg(test)]
    pub(super) fn written(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// The host's own steps, gaps as they are.
    pub(super) fn steps(&self, place: u32) -> impl Iterator<Item = Step> {
        let when = self.lines.get(place as usize).map(|line| line.when);
        let row = when.and_then(When::claim).into_iter().flat_map(
            |Claim { period: Period { from, to }, owner }| {
                let ends = (to != Timestamp::MAX).then_some(Step { from: to, owner: None });
                [Some(Step { from, owner: Some(owner) }), ends]
            },
        );
        row.flatten().chain(when.map_or(&[][..], |when| self.joined(when)).iter().copied())
    }

    /// The steps of several rows.
    fn joined(&self, when: When) -> &[Step] {
        match when {
            When::Row { .. } => &[],
            When::Steps { start, end } => self.steps.get(start as usize..end as usize).unwrap_or_default(),
        }
    }
}

impl When {
    /// The row, if it is one.
    fn claim(self) -> Option<Claim> {
        match self {
            Self::Row { from, to, owner } => {
                Some(Claim { period: Period { from: from.time(), to: to.time() }, owner })
            }
            Self::Steps { .. } => None,
        }
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

    /// A host of these rows.
    fn host(
        timelines: &mut Timelines,
        claims: &[Claim],
        around: Resolution,
        overlap: impl FnMut(usize, usize),
    ) -> Resolution {
        let places: Vec<u32> = claims.iter().map(|&claim| timelines.add(claim)).collect();
        match places[..] {
            [place] => timelines.settle(place, around),
            _ => timelines.join(places[0], claims, around, overlap),
        }
    }

    #[test]
    fn rows_without_validity_need_no_timeline() {
        let mut timelines = Timelines::default();
        let mut overlaps = Vec::new();
        let always = |owner| Claim { period: Period::ALWAYS, owner };
        let resolution = host(
            &mut timelines,
            &[always(1), always(2), always(3)],
            Resolution::Unowned,
            |later, earlier| {
                overlaps.push((later, earlier));
            },
        );
        assert_eq!(resolution, Resolution::Owned(3));
        assert_eq!(overlaps, [(1, 0), (2, 1)]);
        assert!(timelines.steps.is_empty());
    }

    #[test]
    fn gaps_fall_to_the_block_around_and_a_later_row_wins() {
        let mut timelines = Timelines::default();
        let block = host(&mut timelines, &[claim(0, 100, 7)], Resolution::Unowned, |_, _| {});
        let host = host(&mut timelines, &[claim(10, 40, 1), claim(20, 30, 2)], block, |_, _| {});
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
    fn every_time_that_a_file_can_name_is_kept() {
        let texts = ["0000-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"];
        let named = texts.map(|text| Timestamp::parse_rfc3339(text).unwrap());
        for time in named.into_iter().chain([Timestamp::MIN, Timestamp::MAX]) {
            assert_eq!(Stamp::of(time).time(), time);
        }
    }

    #[test]
    fn rows_that_touch_do_not_overlap() {
        let mut timelines = Timelines::default();
        let touching = [claim(0, 10, 1), claim(10, 20, 2), claim(20, i64::MAX, 2)];
        let chain = host(&mut timelines, &touching, Resolution::Unowned, |_, _| panic!("no overlap"));
        assert_eq!(timelines.owner_at(chain, Timestamp::MAX), Some(2), "no end is no end");
        let alone = host(&mut timelines, &[claim(20, i64::MAX, 2)], Resolution::Unowned, |_, _| {});
        assert_eq!(timelines.owner_at(alone, Timestamp::MAX), Some(2), "nor of one row");
    }

    proptest! {
        #[test]
        fn the_last_valid_row_wins_at_every_time(
            rows in prop::collection::vec((0_i64..9, 1_i64..9, 0_u32..4), 1..8),
        ) {
            let claims: Vec<Claim> = rows.iter().map(|&(from, length, owner)| claim(from, from + length, owner)).collect();
            let mut timelines = Timelines::default();
            let chain = host(&mut timelines, &claims, Resolution::Owned(9), |_, _| {});
            for time in -1..20 {
                let last = rows.iter().rev().find(|(from, length, _)| (*from..from + length).contains(&time));
                let expected = last.map_or(9, |row| row.2);
                prop_assert_eq!(timelines.owner_at(chain, at(time)), Some(expected), "{}", time);
            }
        }
    }
}
