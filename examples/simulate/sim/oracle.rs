//! What must have come out: the engine straight over all lines, and books that balance. Runs no stage.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use logtally::{
    audit::{self, Book, ShardCut, Verdict},
    backend::{Series, ShardId, Stage},
    engine::{
        count::Counter,
        counters::Counters,
        cut::Cut,
        engine::Engine,
        journal::Posted,
        metric::{
            DUPLICATE_LINES, Datum, LATE_LINES, MALFORMED_LINES, REQUEST_COUNT, RESPONSE_COUNT, application,
            count, datums,
        },
        parcel::unpack,
        producers::PARTITION_KEY_PREFIX,
        record::Record,
        reference::Reference,
        row::Origin,
        settings::{Mode, Settings},
        state::State as EngineState,
        time::Timestamp,
    },
};

use super::{
    ENDED_EARLY,
    rates::Kind,
    shards::Kept,
    stages,
    table::Item,
    world::{State, World, word},
};

type Sums = BTreeMap<(Series, Timestamp), f64>;

/// The sums of all lines, and how many are malformed.
fn replayed(world: &World, lines: &[u8], reference: Arc<Reference>) -> (Sums, Counters) {
    let plan = stages::plan(world);
    let settings = Settings {
        origin: Origin { pipeline: "replay".to_owned(), epoch: 1, shard: "files".to_owned() },
        mode: Mode::Replay,
        allowed_lateness_ms: 0,
        correction_interval_ms: 0,
        share: 0,
        zero_rows: false,
        top_hosts: 3,
    };
    let state = EngineState::new(plan.window);
    let (mut engine, _) = Engine::new(settings, Counter::new(plan, reference), state);
    engine.push(Record { partition_key: "", data: lines, arrival: Timestamp::MIN });
    let mut sums = Sums::new();
    for Datum { series, timestamp, value } in datums(&engine.close()) {
        *sums.entry((series, timestamp)).or_default() += value;
    }
    (sums, engine.counters().clone())
}

/// Everything that is wrong at the end.
pub(crate) fn judge(world: &World, reference: Arc<Reference>) -> Vec<String> {
    let written = world.lock().written.clone();
    let (expected, lines) = replayed(world, &written, reference);
    let state = &mut *world.lock();
    let mut wrong = std::mem::take(&mut state.wrong);
    compare(&expected, &state.metrics, &mut wrong);
    let (mut total, mut told) = (Counters::default(), Counters::default());
    let cuts = cuts(world.kind, state, &mut wrong);
    for (shard, cut) in &cuts {
        check_cut(shard, cut, &mut wrong);
        total += &cut.state.counters;
        told += &cut.state.reported;
    }
    check_windows(cuts, state, &mut wrong);
    let ended_early = state.has_counted(ENDED_EARLY);
    let mut equal = |what: &str, found: u64, expected: u64| {
        if found != expected {
            wrong.push(format!("{what}: {found}, not {expected}"));
        }
    };
    equal("lines read once", total.read - total.duplicate, state.lines());
    equal("lines counted", total.counted, lines.counted);
    equal("malformed lines", total.malformed_lines(), lines.malformed_lines());
    let streamed = state.input.all().iter().flat_map(|kept| &kept.records);
    let streamed = streamed.map(|record| record.data.len() as u64).sum();
    equal("bytes of the input stream", total.read_bytes + total.control_bytes, streamed);
    for (name, told, total) in [
        (MALFORMED_LINES, told.malformed_lines(), total.malformed_lines()),
        (LATE_LINES, told.late, total.late),
        (DUPLICATE_LINES, told.duplicate, total.duplicate),
    ] {
        equal(name, sum(&state.metrics, name), told);
        // Of a shard that was ahead of the clocks the next window is still to come, and with it what it has to tell.
        if !ended_early {
            equal(name, told, total);
        }
    }
    if total.duplicate > 0 {
        state.count("seed with duplicate lines");
    }
    if total.late > 0 {
        state.count("seed with late lines");
    }
    check_parcels(world.kind, state, &mut wrong);
    check_lines(state, &mut wrong);
    wrong
}

/// Every line is in the input stream, and no other.
fn check_lines(state: &State, wrong: &mut Vec<String>) {
    let is_control = |key: &str| key.starts_with(PARTITION_KEY_PREFIX);
    let records = state.input.all().iter().flat_map(|kept| &kept.records);
    let lines = records.filter(|record| !is_control(&record.key)).flat_map(|record| lines_of(&record.data));
    let sent: BTreeSet<&[u8]> = lines.collect();
    let written: BTreeSet<&[u8]> = lines_of(&state.written).collect();
    for (what, line) in written
        .difference(&sent)
        .map(|line| ("sent", line))
        .chain(sent.difference(&written).map(|line| ("written", line)))
    {
        wrong.push(format!("was never {what}: {}", String::from_utf8_lossy(line)));
    }
}

fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sums of small whole numbers")]
fn sum(metrics: &Sums, name: &str) -> u64 {
    metrics.iter().filter(|((series, _), _)| series.name == name).map(|(_, value)| *value).sum::<f64>() as u64
}

fn compare(expected: &Sums, found: &Sums, wrong: &mut Vec<String>) {
    let counts = |((series, _), value): &(&(Series, Timestamp), &f64)| {
        [REQUEST_COUNT, RESPONSE_COUNT].contains(&series.name.as_str()) && **value != 0.0
    };
    let found: BTreeMap<_, _> = found.iter().filter(counts).collect();
    let expected: BTreeMap<_, _> = expected.iter().filter(counts).collect();
    let keys = expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key)));
    for key in keys {
        let (expected, found) = (expected.get(key), found.get(key));
        if expected != found {
            let (Series { name, dimensions }, window) = key;
            let values: Vec<&str> = dimensions.iter().map(|(_, value)| value.as_str()).collect();
            wrong.push(format!("{name} {values:?} at {window}: {found:?}, not {expected:?}"));
        }
    }
}

/// The last cut of each shard of the input stream.
fn cuts(kind: Kind, state: &State, wrong: &mut Vec<String>) -> Vec<(ShardId, Cut)> {
    let mut cuts = Vec::new();
    for Kept { shard, .. } in state.input.all() {
        let key = (word(Stage::Analyze), shard.id.clone());
        let stored = match kind {
            Kind::Embedded => state.cuts.get(&key).cloned(),
            Kind::Aws => state.leases.get(&key).and_then(Item::checkpoint).map(|(stored, _)| stored),
        };
        match stored.map(|stored| Cut::decode(&stored.state)) {
            Some(Ok(cut)) => cuts.push((shard.id.clone(), cut)),
            Some(Err(why)) => wrong.push(format!("the cut of {}: {why}", shard.id)),
            None => wrong.push(format!("{} has no cut", shard.id)),
        }
    }
    cuts
}

fn check_cut(shard: &ShardId, cut: &Cut, wrong: &mut Vec<String>) {
    let state = &cut.state;
    if !state.balances() {
        wrong.push(format!("the books of {shard} do not balance: {:?}", state.counters));
    }
    let held = state.open.requests() + state.late.requests();
    if held > 0 {
        wrong.push(format!("{shard} still holds {held} requests"));
    }
}

/// What `audit` says of the cuts, and of each window's rows beside the metrics.
fn check_windows(cuts: Vec<(ShardId, Cut)>, state: &mut State, wrong: &mut Vec<String>) {
    if cuts.iter().any(|(_, cut)| cut.state.journal.joined() != Posted::default()) {
        state.count("seed with windows that were joined");
    }
    // What is in the outbox was sent: there is no parcel that was not published.
    let cut = |(shard, cut): (ShardId, Cut)| ShardCut { shard, state: cut.state, outbox: Vec::new() };
    let mut book = Book::of_cuts(cuts.into_iter().map(cut).collect());
    for ((series, start), sum) in &state.metrics {
        if let Some(application) = application(series) {
            book.windows.entry((*start, application.to_owned())).or_default().published += count(*sum);
        }
    }
    book.follow(|_, _| true);
    if book.totals.iter().any(|total| total.rows.is_some()) {
        state.count("seed with windows followed into the metrics");
    }
    for entry in audit::entries(&book).iter().filter(|entry| entry.verdict != Verdict::Balances) {
        wrong.push(format!("{} of {}: {}", entry.equation, entry.about, entry.terms()));
    }
}

/// Every parcel of the output stream was published, and nothing else.
fn check_parcels(kind: Kind, state: &State, wrong: &mut Vec<String>) {
    let is_known = |id: &String| match kind {
        Kind::Embedded => state.published.contains(id),
        Kind::Aws => state.ledger.parcels.contains_key(id),
    };
    let mut seen: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for record in state.output.all().iter().flat_map(|kept| &kept.records) {
        let before = seen.insert(&record.key, &record.data);
        if before.is_some_and(|before| before == &record.data[..]) {
            continue;
        }
        let unpacked = unpack(&record.data);
        if unpacked.foreign_lines > 0 {
            wrong.push(format!("{} has {} lines that are no rows", record.key, unpacked.foreign_lines));
        }
        if !is_known(&record.key) && !unpacked.datums().is_empty() {
            wrong.push(format!("parcel {} was not published", record.key));
        }
        if before.is_some() {
            wrong.push(format!("two parcels have the id {}", record.key));
        }
    }
}
