//! Do the books balance? Holds what was read, counted, published and delivered against each other. Mends nothing.
//!
//! A [`Book`] is what either backend knows, collected ([`collect`]); [`entries`] puts it into every equation of one
//! table ([`equations`]) that it has the figures for.

pub mod collect;
pub mod entry;
pub mod equations;

use std::collections::BTreeMap;

use crate::{
    backend::{Amount, Series, ShardId},
    engine::{
        journal::Posted, parcel::Parcel, provenance::SourceId, seen::Taken, state::State, time::Timestamp,
    },
    tail,
};

pub use entry::{Difference, Entry, Figure, Scope, Term, Verdict};
pub use equations::entries;

/// A shard's cut, decoded.
#[derive(Clone, Debug)]
pub struct ShardCut {
    /// The shard.
    pub shard: ShardId,
    /// Its engine's state.
    pub state: State,
    /// Rows that it may not have sent.
    pub outbox: Vec<Parcel>,
}

/// Everything that must add up. What a backend does not know is absent, not zero.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Each life of each file, in the order of lives.
    pub files: Vec<FileBook>,
    /// The shards of the input stream.
    pub inputs: Vec<InputBook>,
    /// The shards of the output stream.
    pub outputs: Vec<OutputBook>,
    /// By start of window and application.
    pub windows: BTreeMap<(Timestamp, String), WindowBook>,
    /// What the journals say of each window, by start.
    pub totals: Vec<WindowTotal>,
    /// What was delivered, beside the metrics.
    pub sums: Vec<SumBook>,
    /// All shards together.
    pub total: Option<TotalBook>,
}

/// One life of one file, in bytes of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileBook {
    /// Which one.
    pub source: SourceId,
    /// What its producer stored; absent where that is elsewhere or forgotten, and for standard input.
    pub known: Option<tail::Known>,
    /// Analyzed, each byte once, since the epoch began.
    pub analyzed: Taken,
    /// In records that were not read yet.
    pub waiting: Option<u64>,
    /// Some bytes were skipped, expired or sent without provenance: nobody knows of which file.
    pub loose: bool,
}

/// One shard of the input stream.
#[derive(Clone, Debug)]
pub struct InputBook {
    /// Which one.
    pub shard: ShardId,
    /// What the stream keeps of it.
    pub kept: Option<Kept>,
    /// Bytes ever appended up to the position of `analyze`.
    pub before: Option<u64>,
    /// The state of its engine; absent before the first cut.
    pub state: Option<State>,
}

/// What a stream keeps of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Ever appended.
    pub appended: Amount,
    /// Of that, deleted past retention.
    pub deleted: Amount,
    /// What is there, counted.
    pub found: Amount,
}

/// One shard of the output stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputBook {
    /// Which one.
    pub shard: ShardId,
    /// What the stream keeps of it.
    pub kept: Kept,
    /// Parcels that are still kept and lie before the position of `deliver`.
    pub passed: u64,
    /// Those of them that the ledger knows as published.
    pub published: u64,
}

/// The requests of one application in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowBook {
    /// In the metrics.
    pub published: u64,
    /// In rows of the output stream that were not delivered yet.
    pub waiting: u64,
    /// In rows that are saved and may not be in the output stream.
    pub outbox: u64,
    /// Counted after their window was published, and not published yet.
    pub corrections: u64,
    /// In windows that are open.
    pub open: u64,
    /// In calls of which nobody knows whether they were added.
    pub in_doubt: u64,
    /// In calls that the metrics refused for good.
    pub refused: u64,
    /// Never sent, for their age.
    pub out_of_range: u64,
}

/// The requests of one window, of all shards and applications, as the journals of the shards have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowTotal {
    /// Absent: of all windows that a shard does not keep apart any more.
    pub start: Option<Timestamp>,
    /// Counted.
    pub counted: u64,
    /// Published in rows.
    pub published: u64,
    /// In tallies of windows that are open.
    pub open: u64,
    /// In tallies of corrections.
    pub corrections: u64,
    /// No row of it was published before; absent where a shard keeps only a part of it apart.
    pub since: Option<Timestamp>,
    /// What became of its rows, where that is known of all of them.
    pub rows: Option<WindowBook>,
    /// A difference of its rows that says nothing: why.
    pub excuse: Option<Excuse>,
}

/// One series and window: what was delivered, and what the metrics have.
#[derive(Clone, Debug, PartialEq)]
pub struct SumBook {
    /// The series.
    pub series: Series,
    /// Start of the window.
    pub timestamp: Timestamp,
    /// Added for certain.
    pub delivered: f64,
    /// Added or not.
    pub in_doubt: f64,
    /// Refused for good.
    pub refused: f64,
    /// Never sent, for its age.
    pub out_of_range: f64,
    /// What the metrics have.
    pub found: f64,
    /// A difference that says nothing: why.
    pub excuse: Option<Excuse>,
}

/// Why a difference says nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excuse {
    /// What was sent may still show.
    ToCome,
    /// It differed otherwise a moment before: something is being sent just now.
    Moving,
}

/// Requests of all shards and epochs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TotalBook {
    /// In rows that `analyze` published.
    pub published: u64,
    /// In the metrics.
    pub metrics: u64,
    /// In rows that were not delivered yet.
    pub waiting: u64,
    /// In metrics that are past their retention.
    pub aged: u64,
}

impl Book {
    /// The windows, of all applications together.
    #[must_use]
    pub fn by_start(&self) -> BTreeMap<Timestamp, WindowBook> {
        let mut sums: BTreeMap<Timestamp, WindowBook> = BTreeMap::new();
        for ((start, _), window) in &self.windows {
            *sums.entry(*start).or_default() += window;
        }
        sums
    }

    /// Enters what became of the rows of each window of which `is_known` says, by its start and since when there may be
    /// rows of it, that this is in [`Self::windows`] to the last row.
    pub fn follow(&mut self, is_known: impl Fn(Timestamp, Timestamp) -> bool) {
        let sums = self.by_start();
        for total in &mut self.totals {
            let known = total.start.zip(total.since).filter(|&(start, since)| is_known(start, since));
            total.rows = known.map(|(start, _)| sums.get(&start).copied().unwrap_or_default());
        }
    }
}

impl WindowTotal {
    /// Whether what became of its rows is known, and is not all of them.
    #[must_use]
    pub fn lacks_rows(&self) -> bool {
        self.rows
            .is_some_and(|rows| rows.of_rows().into_iter().fold(0, u64::saturating_add) != self.published)
    }

    /// Whether it is another look at the same rows.
    #[must_use]
    pub fn has_rows_of(&self, other: &Self) -> bool {
        let rows = |total: &Self| total.rows.map(|rows| rows.of_rows());
        (self.start, self.published, rows(self)) == (other.start, other.published, rows(other))
    }

    fn enter(&mut self, Posted { counted, published }: Posted) {
        self.counted = self.counted.saturating_add(counted);
        self.published = self.published.saturating_add(published);
    }
}

impl WindowBook {
    /// Where requests of rows are.
    const fn of_rows(&self) -> [u64; 6] {
        [self.published, self.waiting, self.outbox, self.in_doubt, self.refused, self.out_of_range]
    }

    /// All requests that are known of.
    #[must_use]
    pub fn counted(&self) -> u64 {
        let Self { published, waiting, outbox, corrections, open, in_doubt, refused, out_of_range } = self;
        let parts = [published, waiting, outbox, corrections, open, in_doubt, refused, out_of_range];
        parts.into_iter().fold(0, |sum: u64, part| sum.saturating_add(*part))
    }

    /// Whether there is more to it than published requests.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.counted() != self.published
    }
}

impl std::ops::AddAssign<&Self> for WindowBook {
    fn add_assign(&mut self, other: &Self) {
        let Self { published, waiting, outbox, corrections, open, in_doubt, refused, out_of_range } = other;
        for (sum, part) in [
            (&mut self.published, published),
            (&mut self.waiting, waiting),
            (&mut self.outbox, outbox),
            (&mut self.corrections, corrections),
            (&mut self.open, open),
            (&mut self.in_doubt, in_doubt),
            (&mut self.refused, refused),
            (&mut self.out_of_range, out_of_range),
        ] {
            *sum = sum.saturating_add(*part);
        }
    }
}
