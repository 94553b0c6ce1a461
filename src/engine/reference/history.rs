//! What must be known of every row until all are read: when it is valid, and what is odd about it. Knows no tables.

use crate::engine::reference::{
    Resolution, Warning,
    entry::Entry,
    sample::Sample,
    tag::Tag,
    validity::{Claim, Period, Timelines},
};

/// Validity and warnings.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) timelines: Timelines,
    /// By row.
    pub(super) warnings: Sample<(u64, Warning)>,
}

impl History {
    /// The tag of a row: of one without a validity its owner, else its place among the timelines.
    pub(super) fn tag(&mut self, claim: Claim) -> Tag {
        match claim.period {
            Period::ALWAYS => Tag::new(claim.owner, false),
            _ => Tag::new(self.timelines.add(claim), true),
        }
    }

    pub(super) fn warn(&mut self, row: u64, warning: Warning) {
        self.warnings.add((row, warning));
    }

    /// Settles who owns a host, given its rows in the order of the file; `around` is what the blocks around it say.
    pub(super) fn settle<K: Copy>(
        &mut self,
        rows: &[Entry<K>],
        host: impl Fn(&K) -> String,
        around: impl FnOnce(&K) -> Resolution,
    ) -> Tag {
        let Some((last, _)) = rows.split_last() else { return Tag::of(Resolution::Unowned) };
        if rows.iter().all(|row| !row.tag.timed()) {
            for pair in rows.windows(2) {
                if let [earlier, later] = pair {
                    self.repeated(later, earlier, &host);
                }
            }
            return last.tag; // nearly every host: one row, always valid
        }
        let around = around(&last.key);
        if let [row] = rows {
            return Tag::of(self.timelines.settle(row.tag.index(), around));
        }
        let mut timelines = std::mem::take(&mut self.timelines);
        let claims: Vec<Claim> = rows.iter().map(|row| claim(&timelines, row.tag)).collect();
        // If the last row has no validity it always wins, and needs no place.
        let resolution = timelines.join(last.tag.index(), &claims, around, |later, earlier| {
            if let (Some(later), Some(earlier)) = (rows.get(later), rows.get(earlier)) {
                self.repeated(later, earlier, &host);
            }
        });
        self.timelines = timelines;
        Tag::of(resolution)
    }

    fn repeated<K>(&mut self, later: &Entry<K>, earlier: &Entry<K>, host: impl Fn(&K) -> String) {
        let (row, host, earlier) = (later.line.into(), host(&later.key), earlier.line.into());
        self.warn(row, Warning::Repeated { row, host, earlier });
    }
}

fn claim(timelines: &Timelines, tag: Tag) -> Claim {
    let timed = Some(tag.index()).filter(|_| tag.timed()).and_then(|place| timelines.claim(place));
    timed.unwrap_or(Claim { period: Period::ALWAYS, owner: tag.index() })
}
