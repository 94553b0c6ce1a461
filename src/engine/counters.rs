//! The books of one shard: every line read lands in exactly one counter. Publishes nothing.
//!
//! Of lines: `read == counted + malformed + duplicate`. Of bytes: what the shard ever took is `skipped_bytes +
//! expired_bytes + read_bytes + control_bytes` and what still lies behind the position.

use std::{collections::BTreeMap, ops::AddAssign};

use serde::{Deserialize, Serialize};

use crate::engine::reason::Reason;

/// Lines and bytes read and what became of them; `read == counted + malformed + duplicate` (lines).
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
    /// Bytes of records that hold no lines: producers saying that they are alive.
    pub control_bytes: u64,
    /// Bytes that a start mode passed over unread.
    pub skipped_bytes: u64,
    /// Records that were past retention before they were read.
    pub expired_records: u64,
    /// Their bytes, as far as the stream knows.
    pub expired_bytes: u64,
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

    /// What is known of the bytes of the shard: read, or passed over, or lost.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.read_bytes + self.control_bytes + self.skipped_bytes + self.expired_bytes
    }

    /// Whether every line read landed in exactly one counter.
    #[must_use]
    pub fn balance(&self) -> bool {
        self.read == self.counted + self.malformed_lines() + self.duplicate
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
            control_bytes: self.control_bytes - earlier.control_bytes,
            skipped_bytes: self.skipped_bytes - earlier.skipped_bytes,
            expired_records: self.expired_records - earlier.expired_records,
            expired_bytes: self.expired_bytes - earlier.expired_bytes,
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
            control_bytes,
            skipped_bytes,
            expired_records,
            expired_bytes,
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
        self.control_bytes += control_bytes;
        self.skipped_bytes += skipped_bytes;
        self.expired_records += expired_records;
        self.expired_bytes += expired_bytes;
        self.records_without_provenance += records_without_provenance;
        self.windows_closed_early += windows_closed_early;
        self.sources_forgotten += sources_forgotten;
    }
}
