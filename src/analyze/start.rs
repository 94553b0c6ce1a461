//! The start modes: which cut each shard goes on from. Reads no line.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    analyze::{AnalyzeError, Settings, StartMode, shard::Worker},
    backend::{
        Backend, BackendError, Checkpoint, CheckpointStore, Outbox, Outgoing, SequenceNumber, Shard, ShardId,
        Stream, retry::Retry,
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
    stop::{Phase, Stop},
};

/// A shard's cut and the position it belongs to.
pub(crate) struct Found {
    pub(crate) cut: Cut,
    pub(crate) position: Option<SequenceNumber>,
    pub(crate) outbox: Outbox,
}

/// How often the first of several processes is waited for.
const WAIT: Duration = Duration::from_secs(1);

/// Prepares every shard's cut for the start mode; returns the epoch, or nothing if the stop came first.
pub(crate) async fn prepare<B: Backend>(
    backend: &B,
    store: &B::Checkpoints,
    settings: &Settings,
    stop: &Stop,
) -> Result<Option<u64>, AnalyzeError> {
    let mut is_first = false;
    loop {
        let retry = Retry::new("listing the shards", stop);
        let shards = retry.until_done(|| backend.shards(Stream::Input)).await?;
        let found = found(store, &shards, stop).await?;
        let last = found.iter().map(|(_, found)| found.cut.epoch).max();
        is_first |= last.is_none();
        // Where another process made all the first cuts meanwhile, they are as this one would have made them.
        let is_made = is_first && found.len() == shards.len();
        if let Some(last) = last
            && (is_made || settings.from == StartMode::LastStoppedPoint)
        {
            return Ok(Some(last));
        }
        let replaced = match store.hold_all(&shards).await {
            Ok(()) => replace(backend, store, settings, (&shards, stop)).await,
            Err(error) => Err(error.into()),
        };
        match replaced {
            Ok(epoch) => return Ok(Some(epoch)),
            // Somebody else makes the first cuts just now.
            Err(AnalyzeError::Backend(BackendError::Closed { .. })) if is_first => {}
            Err(AnalyzeError::Backend(BackendError::Busy { why } | BackendError::Unlisted { why })) => {
                tracing::warn!("taking the shards: {why}; trying again");
            }
            Err(error) => return Err(error),
        }
        let mut stopping = stop.clone();
        tokio::select! {
            biased;
            () = stopping.reached(Phase::Stop) => return Ok(None),
            () = tokio::time::sleep(WAIT) => {}
        }
    }
}

/// The cuts that there are.
async fn found<'s>(
    store: &impl CheckpointStore,
    shards: &'s [Shard],
    stop: &Stop,
) -> Result<Vec<(&'s Shard, Found)>, AnalyzeError> {
    let mut found = Vec::new();
    for shard in shards {
        if let Some(cut) = load(store, &shard.id, stop).await? {
            found.push((shard, cut));
        }
    }
    Ok(found)
}

/// Makes the first cuts of an epoch, with every shard in hand; returns the epoch.
async fn replace<B: Backend>(
    backend: &B,
    store: &B::Checkpoints,
    settings: &Settings,
    (shards, stop): (&[Shard], &Stop),
) -> Result<u64, AnalyzeError> {
    let found = found(store, shards, stop).await?;
    let last = found.iter().map(|(_, found)| found.cut.epoch).max();
    match last {
        // The others were faster.
        Some(last) if settings.from == StartMode::LastStoppedPoint => return Ok(last),
        Some(_) if settings.from == StartMode::TrimHorizon && !settings.recount => {
            refuse_recount(backend, &found).await?;
        }
        _ => {}
    }
    let epoch = last.map_or(settings.first_epoch, |last| last + 1);
    let mut cuts: BTreeMap<_, _> =
        found.into_iter().map(|(shard, found)| (shard.id.clone(), found)).collect();
    let (settled, stopping) = (settings.clone(), stop.clone());
    let worker =
        Worker { backend: backend.clone(), store: store.clone(), settings: settled, epoch, stop: stopping };
    for shard in shards {
        let old = cuts.remove(&shard.id);
        if old.is_none() {
            // Those that are listed are read before it.
            let has_left = |parent: &&ShardId| shards.iter().all(|other| other.id != **parent);
            let parents = shard.parents.iter().filter(has_left).cloned().collect();
            Box::pin(worker.close_parents(&Shard { parents, ..shard.clone() })).await?;
        }
        begin(backend, store, settings, (shard, epoch, old, stop)).await?;
    }
    Ok(epoch)
}

/// Loads a shard's cut.
pub(crate) async fn load(
    store: &impl CheckpointStore,
    shard: &ShardId,
    stop: &Stop,
) -> Result<Option<Found>, AnalyzeError> {
    let retry = Retry::new("loading a checkpoint", stop);
    let loaded = retry.until_done(|| store.load(shard)).await?;
    let Some((Checkpoint { position, state, .. }, outbox)) = loaded else { return Ok(None) };
    let cut = Cut::decode(&state).map_err(|source| AnalyzeError::Cut { shard: shard.clone(), source })?;
    Ok(Some(Found { cut, position, outbox }))
}

/// Saves a first cut of a new epoch. What the old epoch still held is published by it.
async fn begin<B: Backend>(
    backend: &B,
    store: &B::Checkpoints,
    settings: &Settings,
    (shard, epoch, old, stop): (&Shard, u64, Option<Found>, &Stop),
) -> Result<(), AnalyzeError> {
    let mut state = State::new(settings.plan.window);
    let mut position = None;
    if settings.from == StartMode::Now {
        let backlog = backend.backlog(Stream::Input, &shard.id, None).await?;
        state.counters.skipped_bytes = backlog.before.bytes + backlog.behind.bytes;
        position = backlog.newest;
    } else {
        state.counters.skipped_bytes = backend.trimmed(Stream::Input, &shard.id).await?.bytes;
    }
    let mut outbox = Vec::new();
    if let Some(old) = old {
        if settings.from == StartMode::Now {
            state.inherit(&old.cut.state);
            // A later recount must still know what was counted.
            state.span = old.cut.state.span;
            state.complete_to = old.cut.state.complete_to;
        }
        let last;
        (outbox, last) = flush(settings, shard, old);
        state.published_before = last.published_before + last.published;
        state.journal = last.journal.of_earlier_epochs();
    }
    let cut = CutRef { epoch, ended: false, state: &state, outbox: &outbox };
    let state = cut.encode().map_err(|source| AnalyzeError::Cut { shard: shard.id.clone(), source })?;
    let checkpoint = Checkpoint { position, state, ended: false };
    let retry = Retry::new("saving a checkpoint", stop);
    retry.until_done(|| store.save(&shard.id, checkpoint.clone(), outgoing(&outbox))).await?;
    Ok(())
}

/// The rows that an old epoch has not sent yet (its outbox, and everything in its windows), and its last state.
fn flush(settings: &Settings, shard: &Shard, old: Found) -> (Vec<Parcel>, State) {
    let Found { cut, outbox, .. } = old;
    let mut parcels = if outbox == Outbox::Pending { cut.outbox } else { Vec::new() };
    let (mut engine, mut rows) = engine(settings, shard, cut.epoch, cut.state);
    rows.append(&mut engine.close());
    let number = engine.state().cut;
    parcels.extend(pack(&origin(settings, shard, cut.epoch), number, &rows));
    (parcels, engine.state().clone())
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
        data: parcel.lines.clone(),
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
