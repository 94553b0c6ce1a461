//! A [`Book`] out of what the backends keep. Compares nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    audit::{
        Book, FileBook, InputBook, Kept, OutputBook, ShardCut, SumBook, TotalBook, WindowBook, WindowTotal,
    },
    backend::{
        Amount, Outbox, Stage, StoredCheckpoint,
        embedded::{
            books::{Books, InputShard, Sums},
            stats::ShardStats,
        },
    },
    engine::{
        cut::{Cut, CutError},
        journal::{Page, Posted},
        metric::{application, count},
        parcel::{Parcel, unpack},
        provenance::{Node, SourceId},
        row::Output,
        seen::{Seen, Taken},
        state::State,
        tally::Windows,
        time::Timestamp,
    },
    tail::{self, TailError},
};

/// State that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A cut of `analyze`.
    #[error("{shard}: {source}")]
    Cut {
        /// Of which shard.
        shard: String,
        /// What is wrong with it.
        source: CutError,
    },
    /// What is stored of a file.
    #[error(transparent)]
    File(#[from] TailError),
}

/// The cut of `analyze` in a checkpoint; `outbox` says whether its rows were sent.
///
/// # Errors
/// If it cannot be decoded.
pub fn cut(found: &StoredCheckpoint, outbox: Outbox) -> Result<ShardCut, Unreadable> {
    let shard = found.shard.clone();
    let cut = Cut::decode(&found.checkpoint.state)
        .map_err(|source| Unreadable::Cut { shard: shard.0.clone(), source })?;
    let outbox = if outbox == Outbox::Pending { cut.outbox } else { Vec::new() };
    Ok(ShardCut { shard, state: cut.state, outbox })
}

impl Book {
    /// What cuts say by themselves, whatever is known of the streams.
    #[must_use]
    pub fn of_cuts(cuts: Vec<ShardCut>) -> Self {
        let mut book = Self::default();
        let mut analyzed: BTreeMap<SourceId, Taken> = BTreeMap::new();
        book.totals = totals(&cuts);
        for ShardCut { shard, state, outbox } in cuts {
            for (source, taken) in state.seen.taken() {
                *analyzed.entry(source).or_default() += taken;
            }
            book.add_windows(&state, &outbox);
            book.inputs.push(InputBook { shard, kept: None, before: None, state: Some(state) });
        }
        let file =
            |(source, analyzed)| FileBook { source, known: None, analyzed, waiting: None, loose: false };
        book.files = analyzed.into_iter().map(file).collect();
        book
    }

    /// What the embedded file says.
    ///
    /// # Errors
    /// If state in it cannot be read.
    pub fn of_embedded(books: &Books) -> Result<Self, Unreadable> {
        let of_analyze = books.checkpoints.iter().filter(|found| found.stage == Stage::Analyze);
        // Here a cut and its rows are one transaction.
        let cuts = of_analyze.map(|found| cut(found, Outbox::Sent)).collect::<Result<Vec<_>, _>>()?;
        let published: u64 = cuts.iter().map(|cut| cut.state.published + cut.state.published_before).sum();
        let files = files(books, &cuts)?;
        let mut book = Self { files, ..Self::of_cuts(cuts) };
        book.inputs = books
            .input
            .iter()
            .map(|shard| InputBook {
                shard: shard.stats.shard.id.clone(),
                kept: Some(kept(&shard.stats, shard.found)),
                before: Some(shard.before),
                state: book
                    .inputs
                    .iter()
                    .find(|cut| cut.shard == shard.stats.shard.id)
                    .and_then(|cut| cut.state.clone()),
            })
            .collect();
        book.outputs = books
            .output
            .iter()
            .map(|shard| OutputBook {
                shard: shard.stats.shard.id.clone(),
                kept: kept(&shard.stats, shard.found),
                passed: shard.passed,
                published: shard.published,
            })
            .collect();
        let mut metrics = 0_u64;
        for (key, requests) in requests(&books.metrics) {
            metrics = metrics.saturating_add(requests);
            book.windows.entry(key).or_default().published += requests;
        }
        let mut waiting = 0_u64;
        for (key, &requests) in &books.undelivered {
            waiting = waiting.saturating_add(requests);
            book.windows.entry(key.clone()).or_default().waiting += requests;
        }
        book.total = Some(TotalBook { published, metrics, waiting, aged: books.aged });
        book.sums = sums(books);
        book.follow(|_, since| since >= books.metrics_since);
        Ok(book)
    }

    fn add_windows(&mut self, state: &State, outbox: &[Parcel]) {
        let mut each = |windows: &Windows, add: fn(&mut WindowBook, u64)| {
            for (start, tally) in windows.iter() {
                for (key, cell) in &tally.cells {
                    let (application, _) = state.applications.get(key.owner);
                    add(self.windows.entry((start, application.to_owned())).or_default(), cell.count);
                }
            }
        };
        each(&state.open, |window, count| window.open += count);
        each(&state.late, |window, count| window.corrections += count);
        for row in outbox.iter().flat_map(|parcel| unpack(&parcel.lines).rows) {
            if let Output::Row(row) = row {
                let key = (row.window_start, row.application_name);
                self.windows.entry(key).or_default().outbox += row.response_count;
            }
        }
    }
}

/// What the journals say of each window, of all shards together.
fn totals(cuts: &[ShardCut]) -> Vec<WindowTotal> {
    let mut totals: BTreeMap<Option<Timestamp>, WindowTotal> = BTreeMap::new();
    let mut total = |start, add: &dyn Fn(&mut WindowTotal)| {
        let new = WindowTotal { start, since: Some(Timestamp::MAX), ..WindowTotal::default() };
        add(totals.entry(start).or_insert(new));
    };
    for ShardCut { state, .. } in cuts {
        for (start, &Page { posted, since }) in state.journal.pages() {
            total(Some(start), &|total| {
                total.enter(posted);
                total.since = total.since.map(|known| known.min(since));
            });
        }
        if state.journal.joined() != Posted::default() {
            total(None, &|total| total.enter(state.journal.joined()));
        }
        for (start, tally) in state.open.iter() {
            total(Some(start), &|total| total.open = total.open.saturating_add(tally.requests()));
        }
        for (start, tally) in state.late.iter() {
            total(Some(start), &|total| {
                total.corrections = total.corrections.saturating_add(tally.requests());
            });
        }
    }
    for total in totals.values_mut() {
        let is_whole = |start| cuts.iter().all(|cut| cut.state.journal.is_whole(start));
        total.since = total.since.filter(|_| total.start.is_some_and(is_whole));
    }
    totals.into_values().collect()
}

fn kept(stats: &ShardStats, found: Amount) -> Kept {
    let appended = Amount { records: stats.appended_records, bytes: stats.appended_bytes };
    let deleted = Amount {
        records: stats.appended_records.saturating_sub(stats.records),
        bytes: stats.appended_bytes.saturating_sub(stats.bytes),
    };
    Kept { appended, deleted, found }
}

/// Each life of each file: what the producer stored of it, beside what was analyzed and what waits. Generations are
/// unique in one state, also where its node took another id.
fn files(books: &Books, cuts: &[ShardCut]) -> Result<Vec<FileBook>, Unreadable> {
    let states: Vec<tail::State> = books.sources.iter().map(|s| (s.generation, s.state.clone())).collect();
    let mut known: BTreeMap<u64, tail::Known> =
        tail::known(&states)?.into_iter().map(|known| (known.generation, known)).collect();
    let mut analyzed: BTreeMap<u64, Taken> = BTreeMap::new();
    let mut waiting: BTreeMap<u64, u64> = BTreeMap::new();
    let mut nodes: BTreeMap<u64, Node> = BTreeMap::new();
    for shard in &books.input {
        let cut = cuts.iter().find(|cut| cut.shard == shard.stats.shard.id);
        let seen = cut.map(|cut| cut.state.seen.clone()).unwrap_or_default();
        for (source, taken) in seen.taken() {
            nodes.insert(source.generation, source.node);
            *analyzed.entry(source.generation).or_default() += taken;
        }
        for (source, bytes) in waits(shard, seen) {
            nodes.insert(source.generation, source.node);
            *waiting.entry(source.generation).or_default() += bytes;
        }
    }
    let loose = books.input.iter().any(|shard| shard.unread_without_provenance > 0)
        || cuts.iter().any(|cut| {
            let counters = &cut.state.counters;
            counters.skipped_bytes + counters.expired_bytes > 0
                || counters.records_without_provenance + counters.sources_forgotten > 0
        });
    let generations: BTreeSet<u64> = known.keys().chain(nodes.keys()).copied().collect();
    let file = |generation: u64| FileBook {
        source: SourceId { node: nodes.get(&generation).copied().unwrap_or(books.node), generation },
        known: known.remove(&generation),
        analyzed: analyzed.get(&generation).copied().unwrap_or_default(),
        waiting: Some(waiting.get(&generation).copied().unwrap_or_default()),
        loose,
    };
    Ok(generations.into_iter().map(file).collect())
}

/// What a shard would take of each file if it were read to its tip.
fn waits(shard: &InputShard, mut seen: Seen) -> BTreeMap<SourceId, u64> {
    let before: BTreeMap<SourceId, Taken> = seen.taken().collect();
    for record in &shard.unread {
        seen.take(record, Timestamp::MAX);
    }
    let new = |(source, taken): (SourceId, Taken)| {
        let waits = taken.bytes - before.get(&source).copied().unwrap_or_default().bytes;
        (waits > 0).then_some((source, waits))
    };
    seen.taken().filter_map(new).collect()
}

/// Requests by window and application.
fn requests(metrics: &Sums) -> impl Iterator<Item = ((Timestamp, String), u64)> {
    let of_requests = metrics.iter().filter_map(|(series, sums)| Some((application(series)?, sums)));
    of_requests.flat_map(|(application, sums)| {
        sums.iter().map(move |(start, sum)| ((*start, application.to_owned()), count(*sum)))
    })
}

/// The rows that are still kept against the metrics. Where rows were trimmed the metrics may know more, so only those
/// that know less are wrong then.
fn sums(books: &Books) -> Vec<SumBook> {
    let trimmed = books.output.iter().any(|shard| shard.stats.records < shard.stats.appended_records);
    let mut found = Vec::new();
    for (series, delivered) in &books.delivered {
        let metrics = books.metrics.get(series);
        for (&timestamp, &delivered) in delivered {
            let sum = metrics.and_then(|sums| sums.get(&timestamp)).copied().unwrap_or_default();
            found.push(SumBook {
                series: series.clone(),
                timestamp,
                delivered,
                in_doubt: 0.0,
                refused: 0.0,
                out_of_range: 0.0,
                found: if trimmed { sum.min(delivered) } else { sum },
                excuse: None,
            });
        }
    }
    found
}
