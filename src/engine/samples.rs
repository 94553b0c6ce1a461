//! A few malformed lines of each reason, kept to be shown. Counts nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::reason::{Malformed, Reason};

/// How many lines are kept of each reason: the most recent.
pub const PER_REASON: usize = 3;
/// How many bytes are kept of each line.
pub const LINE_BYTES: usize = 256;

/// One malformed line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The byte at which the trouble was found, from 1.
    pub column: u64,
    /// The first [`LINE_BYTES`] bytes: hostile text, to be escaped where it is shown.
    pub line: Vec<u8>,
}

/// The most recent malformed lines of each reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples(BTreeMap<Reason, Vec<Sample>>);

impl Samples {
    /// Keeps the beginning of a malformed line.
    pub fn add(&mut self, line: &[u8], malformed: Malformed) {
        let line = line.get(..LINE_BYTES).unwrap_or(line).to_vec();
        self.keep(malformed.reason, Sample { column: malformed.column as u64, line });
    }

    /// Keeps the most recent of both, `later`'s being the more recent.
    pub fn absorb(&mut self, later: Self) {
        for (reason, samples) in later.0 {
            for sample in samples {
                self.keep(reason, sample);
            }
        }
    }

    /// By reason, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, &Sample)> {
        self.0.iter().flat_map(|(&reason, samples)| samples.iter().map(move |sample| (reason, sample)))
    }

    fn keep(&mut self, reason: Reason, sample: Sample) {
        let kept = self.0.entry(reason).or_default();
        if kept.len() >= PER_REASON {
            kept.remove(0);
        }
        kept.push(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_recent_are_kept_and_long_lines_cut() {
        let mut samples = Samples::default();
        for column in 1..=5 {
            samples.add(&[b'x'; 1_000], Malformed { reason: Reason::Host, column });
        }
        let mut later = Samples::default();
        later.add(b"y", Malformed { reason: Reason::Host, column: 9 });
        samples.absorb(later);
        let kept: Vec<_> = samples.iter().map(|(_, sample)| (sample.column, sample.line.len())).collect();
        assert_eq!(kept, [(4, LINE_BYTES), (5, LINE_BYTES), (9, 1)]);
    }
}
