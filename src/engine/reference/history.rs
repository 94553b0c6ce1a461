//! What must be known of every row until all are read: when it is valid, and what is odd about it. Knows no tables.

use crate::engine::reference::{
    Resolution, Warning,
    entry::Entry,
    sample::Sample,
    tag::Tag,
    validity::{Claim, Period, Timelines},
};

/// Validity and warnings. Lines of the file fit 32 bits, since its bytes are bounded.
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
        let claims: Vec<Claim> = rows.iter().filter_map(|row| claim(&timelines, row.tag)).collect();
        let place = rows.iter().find(|row| row.tag.timed()).map_or(last.tag, |row| row.tag).index();
        let resolution = timelines.join((place, &claims), around, |later, earlier| {
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

fn claim(timelines: &Timelines, tag: Tag) -> Option<Claim> {
    if tag.timed() {
        timelines.claim(tag.index())
    } else {
        Some(Claim { period: Period::ALWAYS, owner: tag.index() })
    }
}
