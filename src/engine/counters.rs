//! The books of one shard: every line read lands in exactly one counter. Publishes nothing.

use std::{collections::BTreeMap, ops::AddAssign};

use serde::{Deserialize, Serialize};

use crate::engine::reason::Reason;

/// Lines and bytes read and what became of them; `read == counted + malformed + duplicate + skipped + expired` (lines).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// Lines read from the stream.
    pub read: u64,
    /// Bytes read from the stream, newlines included.
    pub read_bytes: u64,
    /// Lines counted in a window.
    pub counted: u64,
    /// Of the counted: those whose window was already published, or stamped too far ahead.
    pub late: u64,
    /// Lines that could not be parsed, by reason; a reason that never occurred is absent.
    pub malformed: BTreeMap<Reason, u64>,
    /// Lines that a producer sent again.
    pub duplicate: u64,
    /// Lines that a start mode passed over.
    pub skipped: u64,
    /// Lines that were gone before they were read, as far as the stream knows.
    pub expired: u64,
    /// Records without provenance: counted, but a repetition could not be recognised.
    pub records_without_provenance: u64,
    /// Tallies published before their time because the bound on open windows was reached.
    pub windows_closed_early: u64,
    /// Sources forgotten because the bound on sources was reached.
    pub sources_forgotten: u64,
}

impl Counters {
    /// Malformed lines of all reasons.
    #[must_use]
    pub fn malformed_lines(&self) -> u64 {
        self.malformed.values().sum()
    }

    /// Whether every line read landed in exactly one counter.
    #[must_use]
    pub fn balance(&self) -> bool {
        self.read == self.counted + self.malformed_lines() + self.duplicate + self.skipped + self.expired
    }

    /// What was added since `earlier`, an older state of the same books.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let malformed = self.malformed.iter().filter_map(|(reason, lines)| {
            let lines = lines - earlier.malformed.get(reason).copied().unwrap_or_default();
            (lines > 0).then_some((*reason, lines))
        });
        Self {
            read: self.read - earlier.read,
            read_bytes: self.read_bytes - earlier.read_bytes,
            counted: self.counted - earlier.counted,
            late: self.late - earlier.late,
            malformed: malformed.collect(),
            duplicate: self.duplicate - earlier.duplicate,
            skipped: self.skipped - earlier.skipped,
            expired: self.expired - earlier.expired,
            records_without_provenance: self.records_without_provenance - earlier.records_without_provenance,
            windows_closed_early: self.windows_closed_early - earlier.windows_closed_early,
            sources_forgotten: self.sources_forgotten - earlier.sources_forgotten,
        }
    }

    /// Counts malformed lines.
    pub fn add_malformed(&mut self, reason: Reason, lines: u64) {
        if lines > 0 {
            *self.malformed.entry(reason).or_default() += lines;
        }
    }
}

impl AddAssign<&Self> for Counters {
    fn add_assign(&mut self, other: &Self) {
        let Self {
            read,
            read_bytes,
            counted,
            late,
            malformed,
            duplicate,
            skipped,
            expired,
            records_without_provenance,
            windows_closed_early,
            sources_forgotten,
        } = other;
        self.read += read;
        self.read_bytes += read_bytes;
        self.counted += counted;
        self.late += late;
        for (&reason, &lines) in malformed {
            self.add_malformed(reason, lines);
        }
        self.duplicate += duplicate;
        self.skipped += skipped;
        self.expired += expired;
        self.records_without_provenance += records_without_provenance;
        self.windows_closed_early += windows_closed_early;
        self.sources_forgotten += sources_forgotten;
    }
}
