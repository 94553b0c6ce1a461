//! Input stream to rows, one task a shard. Publishes no metric.
//!
//! Each shard is a loop of its own: read a batch, push it through the engine, and save a cut (position, state, outbox)
//! when rows are due or time has passed. The parents of a split or merge are read to their end before the children,
//! which inherit what was seen and nothing else.

mod mark;
mod parents;
mod shard;
mod start;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use dashmap::DashMap;
use tokio::sync::watch;

use crate::{
    backend::{
        Backend, BackendError, Batch, CheckpointStore, Outbox, SequenceNumber, Shard, ShardId, Stage, Stream,
        work::each_shard,
    },
    engine::{count::Plan, reference::Reference, time::Timestamp},
    stop::Stop,
};

/// Where to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartMode {
    /// At the oldest record still kept.
    TrimHorizon,
    /// With what arrives from now on.
    Now,
    /// Where the last run stopped; at the first start [`Self::TrimHorizon`].
    #[default]
    LastStoppedPoint,
}

/// How to analyze.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Part of the row ids.
    pub pipeline: String,
    /// How lines are read and grouped.
    pub plan: Arc<Plan>,
    /// Who owns which host, as it changes.
    pub reference: watch::Receiver<Arc<Reference>>,
    /// How long after its end a window is held, in milliseconds.
    pub allowed_lateness_ms: i64,
    /// How long corrections are gathered, in milliseconds.
    pub correction_interval_ms: i64,
    /// At most so long between two cuts, in milliseconds.
    pub checkpoint_interval_ms: u64,
    /// How many unknown hosts a row names.
    pub top_hosts: usize,
    /// Where to start.
    pub from: StartMode,
    /// Count windows again that were counted before.
    pub recount: bool,
    /// Go on where records are past retention.
    pub accept_loss: bool,
    /// The epoch of a first start: any number that was never one, such as the time.
    pub first_epoch: u64,
    /// Where the shards stand, for whoever wants to know.
    pub board: Arc<Board>,
}

/// Where the shards stand, live.
pub type Board = DashMap<ShardId, Progress>;

/// Where one shard stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Lines read since the epoch began.
    pub read: u64,
    /// Of those, counted.
    pub counted: u64,
    /// How far behind the tip the last read was, in milliseconds.
    pub behind_ms: u64,
    /// How far the shard is complete.
    pub complete_to: Timestamp,
}

/// Why `analyze` ended.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// The port failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A start mode would count windows a second time.
    #[error(
        "{mode} would count lines of the windows from {first} to {last} a second time: pass --recount to do so, or start \
         with --from LAST_STOPPED_POINT"
    )]
    WouldRecount {
        /// The start mode.
        mode: &'static str,
        /// Start of the first window.
        first: Timestamp,
        /// Start of the last window.
        last: Timestamp,
    },
    /// A checkpoint that cannot be read.
    #[error("{shard}: {source}")]
    Cut {
        /// The shard.
        shard: ShardId,
        /// What is wrong with it.
        source: crate::engine::cut::CutError,
    },
}

/// Analyzes the input stream until `stop`: on [`Drain`](crate::stop::Phase::Drain) to its tip, on
/// [`Stop`](crate::stop::Phase::Stop) at once; in either case with a last cut.
///
/// # Errors
/// [`AnalyzeError`]; what was saved stays saved.
pub async fn run<B: Backend>(backend: &B, settings: Settings, stop: Stop) -> Result<(), AnalyzeError> {
    let store = backend.checkpoints(Stage::Analyze).await?;
    let Some(epoch) = start::prepare(backend, &store, &settings, &stop).await? else { return Ok(()) };
    let work = |shard: Shard, stop| {
        let worker = shard::Worker {
            backend: backend.clone(),
            store: store.clone(),
            settings: settings.clone(),
            epoch,
            stop,
        };
        worker.run(shard)
    };
    each_shard(backend, &store, Stream::Input, stop, work).await
}

/// Analyzes one batch of `shard`, which somebody else reads in order and without gaps, from the shard's cut to the
/// next: `read` gives what lies behind the position. Where the shard is new, those that it comes from are closed first:
/// nothing more will come of them.
///
/// # Errors
/// [`AnalyzeError`]; the same batch may then be given again, and is counted once.
pub async fn step<B: Backend>(
    backend: &B,
    (settings, stop): (&Settings, &Stop),
    shards: &[Shard],
    shard: &Shard,
    read: impl FnOnce(Option<&SequenceNumber>) -> Batch,
) -> Result<(), AnalyzeError> {
    let store = backend.checkpoints(Stage::Analyze).await?;
    let worker = shard::Worker {
        backend: backend.clone(),
        store: store.clone(),
        settings: settings.clone(),
        epoch: settings.first_epoch,
        stop: stop.clone(),
    };
    store.seize(shard).await?;
    let found = start::load(&store, &shard.id, stop).await?;
    for ancestor in ancestors(shards, shard).into_iter().filter(|_| found.is_none()) {
        let known = start::load(&store, &ancestor.id, stop).await?;
        if known.is_some_and(|known| known.cut.ended && known.outbox == Outbox::Sent) {
            continue;
        }
        store.seize(ancestor).await?;
        if let Some(ancestor) = worker.clone().resume(ancestor.clone()).await? {
            ancestor.finish().await?;
        }
    }
    let Some(running) = worker.resume(shard.clone()).await? else {
        let position = found.and_then(|found| found.position);
        return match read(position.as_ref()).records.len() {
            0 => Ok(()),
            count => Err(after_the_end(&shard.id, count).into()),
        };
    };
    let batch = read(running.position());
    running.step(batch).await
}

/// The shards that a shard comes from, oldest first, as `shards` are.
fn ancestors<'s>(shards: &'s [Shard], shard: &Shard) -> Vec<&'s Shard> {
    let mut wanted: BTreeSet<&ShardId> = shard.parents.iter().collect();
    let mut found = Vec::new();
    for shard in shards.iter().rev() {
        if wanted.contains(&shard.id) {
            wanted.extend(&shard.parents);
            found.push(shard);
        }
    }
    found.reverse();
    found
}

fn after_the_end(shard: &ShardId, count: usize) -> BackendError {
    BackendError::Refused {
        what: format!(
            "{count} records of {shard} came after its windows were closed for a child of it: read its children after \
             its end (Lambda does)"
        ),
        source: None,
    }
}
