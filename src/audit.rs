//! Do the books balance? Compares what was read, counted, published and delivered. Mends nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    backend::{
        Stage, StoredCheckpoint,
        embedded::books::{Books, Requests},
    },
    engine::{
        cut::{Cut, CutError},
        state::State,
        time::Timestamp,
    },
};

/// One equation of the books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What it is about: a shard, a window and application, everything.
    pub about: String,
    /// Both sides in words.
    pub equation: &'static str,
    /// The left side.
    pub left: u64,
    /// The right side.
    pub right: u64,
}

impl Entry {
    /// Whether the sides are equal.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.left == self.right
    }
}

/// A shard's cut, decoded.
#[derive(Clone, Debug)]
pub struct ShardCut {
    /// The shard.
    pub shard: String,
    /// Its engine's state.
    pub state: State,
}

/// The cuts of `analyze` among all checkpoints.
///
/// # Errors
/// If one cannot be decoded.
pub fn cuts(checkpoints: &[StoredCheckpoint]) -> Result<Vec<ShardCut>, CutError> {
    let of_analyze = checkpoints.iter().filter(|found| found.stage == Stage::Analyze);
    let cut = |found: &StoredCheckpoint| {
        let state = Cut::decode(&found.checkpoint.state)?.state;
        Ok(ShardCut { shard: found.shard.0.clone(), state })
    };
    of_analyze.map(cut).collect()
}

/// Every equation that the books must satisfy.
#[must_use]
pub fn entries(books: &Books, cuts: &[ShardCut]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for cut in cuts {
        of_shard(books, cut, &mut entries);
    }
    entries.push(of_everything(books, cuts));
    entries.extend(of_windows(books));
    entries
}

/// The equations that a cut must satisfy by itself, whatever is known of the streams.
#[must_use]
pub fn of_cut(cut: &ShardCut) -> [Entry; 2] {
    let (about, state, counters) = (&cut.shard, &cut.state, &cut.state.counters);
    let entry = |equation, left, right| Entry { about: about.clone(), equation, left, right };
    let became = counters.counted + counters.malformed_lines() + counters.duplicate;
    let held = state.open.requests() + state.late.requests();
    [
        entry("lines read = counted + malformed + duplicate", counters.read, became),
        entry(
            "counted = published + in open windows and corrections",
            counters.counted,
            state.published + held,
        ),
    ]
}

fn of_shard(books: &Books, cut: &ShardCut, entries: &mut Vec<Entry>) {
    let (about, counters) = (&cut.shard, &cut.state.counters);
    entries.extend(of_cut(cut));
    let mut entry =
        |equation, left, right| entries.push(Entry { about: about.clone(), equation, left, right });
    if let Some((_, taken)) = books.input.iter().find(|(stats, _)| stats.shard.id.0 == *about) {
        let known =
            counters.read_bytes + counters.control_bytes + counters.skipped_bytes + counters.expired_bytes;
        entry("bytes appended up to the position = read + skipped + expired", *taken, known);
    }
}

fn of_everything(books: &Books, cuts: &[ShardCut]) -> Entry {
    let published = cuts.iter().map(|cut| cut.state.published + cut.state.published_before).sum();
    let sum =
        |requests: &Requests| requests.values().fold(0, |sum: u64, &requests| sum.saturating_add(requests));
    Entry {
        about: "all shards".to_owned(),
        equation: "published = in the metrics + not delivered yet + past the metrics' retention",
        left: published,
        right: sum(&books.metrics) + sum(&books.undelivered) + books.aged,
    }
}

/// Per window and application, the rows that are still kept against the metrics. Where rows were trimmed the metrics
/// may know more, so only windows whose metrics know less are wrong then.
fn of_windows(books: &Books) -> impl Iterator<Item = Entry> {
    let trimmed = books.output.iter().any(|stats| stats.records < stats.appended_records);
    let metrics = |key: &(Timestamp, String)| books.metrics.get(key).copied().unwrap_or_default();
    let entry = move |(key, &rows): (&(Timestamp, String), &u64)| Entry {
        about: format!("{} {}", key.0, key.1),
        equation: "requests in delivered rows = in the metrics",
        left: rows,
        right: if trimmed { metrics(key).min(rows) } else { metrics(key) },
    };
    let entries: Vec<Entry> = books.delivered.iter().map(entry).collect();
    entries.into_iter()
}

/// What the entries come to, for one line: how many balance, and those that do not.
#[must_use]
pub fn differences(entries: &[Entry]) -> BTreeMap<&'static str, Vec<&Entry>> {
    let mut differences: BTreeMap<&'static str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.balances()) {
        differences.entry(entry.equation).or_default().push(entry);
    }
    differences
}
