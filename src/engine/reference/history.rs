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
    /// The validity of rows that have one, by line, in the order of the file.
    periods: Vec<(u32, Period)>,
    pub(super) timelines: Timelines,
    /// By row.
    pub(super) warnings: Sample<(u64, Warning)>,
}

impl History {
    /// Notes the validity of a row; the rows come in the order of the file.
    pub(super) fn add(&mut self, line: u32, period: Period) {
        self.periods.push((line, period));
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
        let claim = |row: &Entry<K>| Claim { owner: row.tag.index(), period: self.period(row) };
        let claims: Vec<Claim> = rows.iter().map(claim).collect();
        let mut timelines = std::mem::take(&mut self.timelines);
        let resolution = timelines.add(&claims, around(&last.key), |later, earlier| {
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

    fn period<K>(&self, row: &Entry<K>) -> Period {
        if !row.tag.timed() {
            return Period::ALWAYS;
        }
        let found = self.periods.binary_search_by_key(&row.line, |&(line, _)| line);
        found.ok().and_then(|index| self.periods.get(index)).map_or(Period::ALWAYS, |&(_, period)| period)
    }
}
