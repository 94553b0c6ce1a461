//! Sharing the work: a task for each shard that this process holds, parents before children. Reads no record itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use tokio::{task::JoinSet, time::Instant};

use crate::{
    backend::{Backend, BackendError, CheckpointStore, Result, Shard, ShardId, Stream, retry::LOG_EVERY},
    stop::{Phase, Stop, Stopper, channel},
};

/// Looks that a list of the shards is good for: two leases' time. Only where a shard came to its end are there children to
/// be read, and then it is listed at once.
const LOOKS_A_LIST: u32 = 6;
/// Looks that children of a shard that ended are waited for: a list may show what was a moment ago (Kinesis, `ListShards`,
/// is eventually consistent).
const LOOKS_FOR_CHILDREN: u32 = 6;

/// How the work on one shard ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Because of the stop.
    Stopped,
    /// At the end of the shard, with that saved.
    EndOfShard,
    /// Another process reads the shard now.
    Lost,
    /// The stream does not list the shard any more.
    Unlisted,
    /// In the middle of a call that took too long after the stop: whether it took effect is not known.
    CutOff,
}

impl Ended {
    /// What `error` means for the work on `shard`, where it does not end the stage.
    ///
    /// # Errors
    /// `error`, where it does.
    pub fn by(shard: &ShardId, error: BackendError) -> Result<Self> {
        match error {
            BackendError::Closed { why } => {
                tracing::debug!(%shard, "{why}");
                Ok(Self::Lost)
            }
            BackendError::Unlisted { why } => {
                tracing::warn!(%shard, "{why}: what was not read of it is past retention; listing the shards again");
                Ok(Self::Unlisted)
            }
            BackendError::Stopped { why } => {
                tracing::warn!(%shard, "{why}");
                Ok(Self::CutOff)
            }
            error @ (BackendError::Busy { .. }
            | BackendError::Gone { .. }
            | BackendError::Refused { .. }
            | BackendError::Failed { .. }) => Err(error),
        }
    }
}

/// Runs `work` for every shard of `stream` that `store` gives to this process, until `stop`: on [`Phase::Drain`] until
/// each of them ended, on [`Phase::Stop`] until those that run have. The stop that `work` gets also comes when its
/// shard is lost.
///
/// # Errors
/// What `work` or a port fails with for good; the other tasks are told to stop and awaited first.
pub async fn each_shard<B, E, W, F>(
    backend: &B,
    store: &B::Checkpoints,
    stream: Stream,
    mut stop: Stop,
    work: W,
) -> Result<(), E>
where
    B: Backend,
    E: From<BackendError> + Send + 'static,
    W: Fn(Shard, Stop) -> F,
    F: Future<Output = Result<Ended, E>> + Send + 'static,
{
    let mut crew = Crew {
        work,
        finished: BTreeSet::new(),
        childless: BTreeMap::new(),
        stopped: BTreeSet::new(),
        undecided: true,
        busy: 0,
        stoppers: BTreeMap::new(),
        tasks: JoinSet::new(),
        shards: Vec::new(),
        good_for: 0,
    };
    let mut failure = None;
    let mut look = Instant::now();
    loop {
        let phase = if failure.is_some() { Phase::Stop } else { stop.phase() };
        crew.tell(phase);
        if phase == Phase::Stop && crew.tasks.is_empty() {
            return failure.map_or(Ok(()), Err);
        }
        let next = if phase == Phase::Run { Phase::Drain } else { Phase::Stop };
        // Who is stopping begins nothing, and its saves renew what it holds.
        if phase < Phase::Stop && Instant::now() >= look {
            look = Instant::now() + store.hold_every();
            let looked = tokio::select! {
                biased;
                // A service that does not answer holds up no stop.
                () = stop.reached(next) => {
                    look = Instant::now();
                    continue;
                }
                looked = crew.look(backend, store, stream, phase) => looked,
            };
            match looked {
                // Others ended shards: their children may be free.
                Ok(true) => look = Instant::now(),
                Ok(false) => {}
                Err(error) => {
                    failure = failure.or(Some(error.into()));
                    continue;
                }
            }
        }
        if phase == Phase::Drain && crew.tasks.is_empty() && !crew.undecided {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = stop.reached(next), if phase < Phase::Stop => {}
            () = tokio::time::sleep_until(look), if phase < Phase::Stop => {}
            Some(ended) = crew.tasks.join_next(), if !crew.tasks.is_empty() => match ended {
                Ok((shard, ended)) => {
                    // Children may follow. A list that is as new as can be is read again in its time.
                    let is_gone = matches!(ended, Ok(Ended::Unlisted)) && crew.good_for < LOOKS_A_LIST - 1;
                    if is_gone || matches!(ended, Ok(Ended::EndOfShard)) {
                        look = Instant::now();
                    }
                    let is_lost = matches!(ended, Ok(Ended::Lost));
                    if let Err(error) = crew.note(&shard, ended, stop.phase().max(phase)) {
                        failure = failure.or(Some(error));
                    }
                    if !is_lost {
                        give_up(store, &shard).await;
                    }
                }
                Err(why) => {
                    let error = BackendError::failed("a shard's task ended", why);
                    failure = failure.or(Some(error.into()));
                }
            }
        }
    }
}

/// Lets others have the shard at once; if that fails they have it when the lease runs out.
async fn give_up(store: &impl CheckpointStore, shard: &ShardId) {
    if let Err(error) = store.release(shard).await {
        tracing::debug!(%shard, %error, "not released");
    }
}

/// The tasks that run.
struct Crew<W, E> {
    work: W,
    /// Read to their end, by whomever: their children may be read.
    finished: BTreeSet<ShardId>,
    /// Of those, the ones that lists show without all of their children, and how many lists did.
    childless: BTreeMap<ShardId, u32>,
    /// Not to be read again by this run.
    stopped: BTreeSet<ShardId>,
    /// Whether there may soon be more to take.
    undecided: bool,
    /// Looks since the last one that went well.
    busy: u32,
    stoppers: BTreeMap<ShardId, Stopper>,
    tasks: JoinSet<(ShardId, Result<Ended, E>)>,
    /// As they were listed last.
    shards: Vec<Shard>,
    /// Looks that they are still good for.
    good_for: u32,
}

impl<W, E, F> Crew<W, E>
where
    E: Send + 'static,
    W: Fn(Shard, Stop) -> F,
    F: Future<Output = Result<Ended, E>> + Send + 'static,
{
    fn tell(&self, phase: Phase) {
        self.stoppers.values().for_each(|stopper| stopper.set(phase));
    }

    /// Notes how the work on `shard` ended, and whether that ends the rest.
    fn note(&mut self, shard: &ShardId, ended: Result<Ended, E>, phase: Phase) -> Result<(), E>
    where
        E: From<BackendError>,
    {
        self.stoppers.remove(shard);
        match ended? {
            Ended::Lost => tracing::info!(%shard, "another process reads this shard now"),
            Ended::EndOfShard => {
                self.finished.insert(shard.clone());
                self.good_for = 0;
            }
            Ended::Unlisted => (self.good_for, self.undecided) = (0, true),
            // One that was stopped because it was lost may come back.
            Ended::CutOff if phase < Phase::Stop => {}
            Ended::Stopped if phase == Phase::Run => {}
            Ended::Stopped => {
                self.stopped.insert(shard.clone());
            }
            // A save that still waits in a queue of this process may yet take effect: who began anew in it, with a new
            // configuration, would load the cut before, and count twice. Only the end of the process settles it.
            Ended::CutOff => {
                let why = format!("stopped while {shard} waited for a service");
                return Err(BackendError::Stopped { why }.into());
            }
        }
        Ok(())
    }

    /// Renews what is held, begins what is new, and stops what was lost. Says whether to look again at once.
    /// Cancel-safe: it changes nothing before the answers are there.
    async fn look<B: Backend>(
        &mut self,
        backend: &B,
        store: &B::Checkpoints,
        stream: Stream,
        phase: Phase,
    ) -> Result<bool> {
        let listed = match self.good_for {
            0 => backend.shards(stream).await.map(|shards| (self.with_read(shards), LOOKS_A_LIST)),
            good_for => Ok((self.shards.clone(), good_for)),
        };
        let (shards, good_for) = match listed {
            Ok(listed) => listed,
            Err(BackendError::Busy { why }) => {
                self.later(&why);
                (self.shards.clone(), 0)
            }
            Err(error) => return Err(error),
        };
        // What is held is renewed whether the list is new or not.
        let is_old = good_for == 0;
        if is_old && shards.is_empty() {
            return Ok(false);
        }
        let held = match store.hold(&self.readable(&shards)).await {
            Ok(held) => held,
            Err(BackendError::Busy { why }) => {
                self.later(&why);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        self.shards.clone_from(&shards);
        self.busy = if is_old { self.busy } else { 0 };
        let known = self.finished.len();
        self.finished.extend(held.ended);
        let news = self.finished.len() > known;
        let is_old = is_old || good_for == LOOKS_A_LIST && self.lacks_children(&shards);
        self.good_for = if news || is_old { 0 } else { good_for.saturating_sub(1) };
        self.undecided = held.undecided || news || is_old;
        let held: BTreeSet<ShardId> = held.shards.into_iter().collect();
        for (shard, stopper) in &self.stoppers {
            if !held.contains(shard) {
                stopper.set(Phase::Stop);
            }
        }
        for shard in shards.into_iter().filter(|shard| held.contains(&shard.id)) {
            if !self.stoppers.contains_key(&shard.id) {
                self.begin(shard, phase);
            }
        }
        Ok(news)
    }

    /// A list with what is being read, which may be younger than what the list shows, or gone: its reader finds that out.
    fn with_read(&self, mut listed: Vec<Shard>) -> Vec<Shard> {
        let known: BTreeSet<ShardId> = listed.iter().map(|shard| shard.id.clone()).collect();
        let read = |shard: &&Shard| self.stoppers.contains_key(&shard.id) && !known.contains(&shard.id);
        listed.extend(self.shards.iter().filter(read).cloned());
        listed
    }

    /// Whether children of a shard that ended are still to be listed: who ends was split or merged, and their ranges come to
    /// no less than its own.
    fn lacks_children(&mut self, shards: &[Shard]) -> bool {
        let width = |shard: &Shard| shard.last_hash.saturating_sub(shard.first_hash).saturating_add(1);
        let mut widths: BTreeMap<&ShardId, u128> = BTreeMap::new();
        for (parent, shard) in shards.iter().flat_map(|shard| shard.parents.iter().map(move |id| (id, shard)))
        {
            let children = widths.entry(parent).or_default();
            *children = children.saturating_add(width(shard));
        }
        let followed =
            |shard: &Shard| widths.get(&shard.id).is_some_and(|children| *children >= width(shard));
        let mut lacks = false;
        for shard in shards.iter().filter(|shard| self.finished.contains(&shard.id) && !followed(shard)) {
            let lists = self.childless.entry(shard.id.clone()).or_default();
            *lists += 1;
            lacks |= *lists <= LOOKS_FOR_CHILDREN;
        }
        lacks
    }

    /// What is busy is looked at again soon.
    fn later(&mut self, why: &str) {
        if self.busy.is_multiple_of(LOG_EVERY) {
            tracing::warn!("sharing the shards: {why}; trying again");
        }
        self.busy += 1;
        self.undecided = true;
    }

    /// Neither at its end nor stopped, and every parent that is still listed is at its end.
    fn readable(&self, shards: &[Shard]) -> Vec<Shard> {
        let waited_for: BTreeSet<&ShardId> =
            shards.iter().map(|shard| &shard.id).filter(|shard| !self.finished.contains(shard)).collect();
        let may = |shard: &&Shard| {
            waited_for.contains(&shard.id)
                && !self.stopped.contains(&shard.id)
                && !shard.parents.iter().any(|parent| waited_for.contains(parent))
        };
        shards.iter().filter(may).cloned().collect()
    }

    fn begin(&mut self, shard: Shard, phase: Phase) {
        let (stopper, stop) = channel();
        stopper.set(phase);
        let id = shard.id.clone();
        self.stoppers.insert(id.clone(), stopper);
        let work = (self.work)(shard, stop);
        self.tasks.spawn(async move { (id, work.await) });
    }
}
