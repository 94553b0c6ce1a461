//! The start modes: which cut each shard goes on from. Reads no line.

use std::sync::Arc;

use crate::{
    analyze::{AnalyzeError, Settings, StartMode},
    backend::{
        Backend, Checkpoint, CheckpointStore, Outbox, Outgoing, SequenceNumber, Shard, ShardId, Stream,
        retry::Retry,
    },
    engine::{
        count::Counter,
        cut::{Cut, CutRef},
        engine::Engine,
        parcel::{Parcel, pack},
        row::Origin,
        settings::{Mode, Settings as EngineSettings},
        state::State,
    },
};

/// A shard's cut and the position it belongs to.
pub(crate) struct Found {
    pub(crate) cut: Cut,
    pub(crate) position: Option<SequenceNumber>,
    pub(crate) outbox: Outbox,
}

/// Prepares every shard's cut for the start mode; returns the epoch.
pub(crate) async fn prepare<B: Backend>(
    backend: &B,
    store: &B::Checkpoints,
    settings: &Settings,
    shards: &[Shard],
) -> Result<u64, AnalyzeError> {
    let mut found = Vec::new();
    for shard in shards {
        if let Some(cut) = load(store, &shard.id).await? {
            found.push((shard, cut));
        }
    }
    let last = found.iter().map(|(_, found)| found.cut.epoch).max();
    let Some(last) = last else {
        for shard in shards {
            begin(backend, store, settings, (shard, settings.first_epoch, None)).await?;
        }
        return Ok(settings.first_epoch);
    };
    if settings.from == StartMode::LastStoppedPoint {
        return Ok(last);
    }
    if settings.from == StartMode::TrimHorizon && !settings.recount {
        refuse_recount(backend, &found).await?;
    }
    let epoch = last + 1;
    let mut cuts: std::collections::BTreeMap<_, _> =
        found.into_iter().map(|(s, f)| (s.id.clone(), f)).collect();
    for shard in shards {
        let old = cuts.remove(&shard.id);
        begin(backend, store, settings, (shard, epoch, old)).await?;
    }
    Ok(epoch)
}

/// Loads a shard's cut.
pub(crate) async fn load(
    store: &impl CheckpointStore,
    shard: &ShardId,
) -> Result<Option<Found>, AnalyzeError> {
    let mut retry = Retry::new("loading a checkpoint");
    let loaded = loop {
        match store.load(shard).await {
            Ok(loaded) => break loaded,
            Err(error) => retry.pause(error).await?,
        }
    };
    let Some((Checkpoint { position, state }, outbox)) = loaded else { return Ok(None) };
    let cut = Cut::decode(&state).map_err(|source| AnalyzeError::Cut { shard: shard.clone(), source })?;
    Ok(Some(Found { cut, position, outbox }))
}

/// Saves a first cut of a new epoch. What the old epoch still held is published by it.
async fn begin<B: Backend>(
    backend: &B,
    store: &B::Checkpoints,
    settings: &Settings,
    (shard, epoch, old): (&Shard, u64, Option<Found>),
) -> Result<(), AnalyzeError> {
    let mut state = State::new(settings.plan.window);
    let mut position = None;
    let backlog = backend.backlog(Stream::Input, &shard.id, None).await?;
    if settings.from == StartMode::Now && !shard.closed {
        state.counters.skipped_bytes = backlog.before.bytes + backlog.behind.bytes;
        position = backlog.newest;
    } else {
        state.counters.skipped_bytes = backlog.before.bytes;
    }
    let mut outbox = Vec::new();
    if let Some(old) = old {
        if settings.from == StartMode::Now {
            state.inherit(&old.cut.state);
            // A later recount must still know what was counted.
            state.span = old.cut.state.span;
            state.complete_to = old.cut.state.complete_to;
        }
        (outbox, state.published_before) = flush(settings, shard, old);
    }
    let cut = CutRef { epoch, ended: false, state: &state, outbox: &outbox };
    let state = cut.encode().map_err(|source| AnalyzeError::Cut { shard: shard.id.clone(), source })?;
    let checkpoint = Checkpoint { position, state };
    let mut retry = Retry::new("saving a checkpoint");
    loop {
        match store.save(&shard.id, checkpoint.clone(), outgoing(&outbox)).await {
            Ok(_) => return Ok(()),
            Err(error) => retry.pause(error).await?,
        }
    }
}

/// The rows that an old epoch has not sent yet (its outbox, and everything in its windows), and how many requests it
/// and those before it published in all.
fn flush(settings: &Settings, shard: &Shard, old: Found) -> (Vec<Parcel>, u64) {
    let Found { cut, outbox, .. } = old;
    let mut parcels = if outbox == Outbox::Pending { cut.outbox } else { Vec::new() };
    let (mut engine, mut rows) = engine(settings, shard, cut.epoch, cut.state);
    rows.append(&mut engine.close());
    let number = engine.state().cut;
    parcels.extend(pack(&origin(settings, shard, cut.epoch), number, &rows));
    let state = engine.state();
    (parcels, state.published_before + state.published)
}

/// An engine for one shard that goes on from `state`.
pub(crate) fn engine(
    settings: &Settings,
    shard: &Shard,
    epoch: u64,
    state: State,
) -> (Engine, Vec<crate::engine::row::Output>) {
    let reference = Arc::clone(&settings.reference.borrow());
    let counter = Counter::new(Arc::clone(&settings.plan), reference);
    let engine = EngineSettings {
        origin: origin(settings, shard, epoch),
        mode: Mode::Live,
        allowed_lateness_ms: settings.allowed_lateness_ms,
        correction_interval_ms: settings.correction_interval_ms,
        share: shard.share(),
        zero_rows: shard.first_hash == 0,
        top_hosts: settings.top_hosts,
    };
    Engine::new(engine, counter, state)
}

pub(crate) fn origin(settings: &Settings, shard: &Shard, epoch: u64) -> Origin {
    Origin { pipeline: settings.pipeline.clone(), epoch, shard: shard.id.0.clone() }
}

/// Parcels as records of the output stream.
pub(crate) fn outgoing(parcels: &[Parcel]) -> Vec<Outgoing> {
    let record = |parcel: &Parcel| Outgoing {
        partition_key: parcel.id.clone(),
        hash_key: Some(parcel.hash_key),
        data: parcel.lines.clone().into(),
    };
    parcels.iter().map(record).collect()
}

/// Fails if what the stream still holds was read before, and names the windows.
async fn refuse_recount<B: Backend>(backend: &B, found: &[(&Shard, Found)]) -> Result<(), AnalyzeError> {
    let mut again = None;
    for (shard, found) in found {
        let state = &found.cut.state;
        let oldest = backend.backlog(Stream::Input, &shard.id, None).await?.oldest;
        let was_read = oldest.is_some_and(|oldest| oldest <= state.complete_to) && found.position.is_some();
        if let Some((first, last)) = state.span.filter(|_| was_read) {
            let (earlier, later) = again.unwrap_or((first, last));
            again = Some((first.min(earlier), last.max(later)));
        }
    }
    match again {
        None => Ok(()),
        Some((first, last)) => Err(AnalyzeError::WouldRecount { mode: "TRIM_HORIZON", first, last }),
    }
}
