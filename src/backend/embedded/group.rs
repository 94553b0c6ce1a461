//! The thread that writes: takes the jobs that wait, runs each in a savepoint of one transaction, commits, and only
//! then answers. Knows no table but the shards' arrival times.
//!
//! An answer means durable, and one `fsync` serves the whole group. The jobs of a transaction share one stamp
//! ([`Tx::now`]), which never goes backwards over the whole file. As transactions exclude each other, whatever a
//! reader does not see yet will be stamped at or behind everything it does see.

use std::{
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior, ffi};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use crate::{
    backend::embedded::{
        Settings,
        error::{Fault, again},
        retention::{self, Bounds},
        stamps::Stamps,
        store::Signals,
        tips::Fresh,
        wal::Checkpointer,
    },
    engine::time::Timestamp,
};

/// Jobs in one transaction; further ones wait for the next.
const GROUP_JOBS: usize = 64;
/// Payload in one transaction, in bytes, after which no further job joins it: bounds what a commit must write.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How soon after a job, and how often at most, it is looked for what is past retention.
const IDLE: Duration = Duration::from_secs(1);
/// How long at most where nothing will be for a while: the clock may be set meanwhile.
const QUIET: Duration = Duration::from_mins(1);

/// What a job works in.
pub(super) struct Tx<'a> {
    pub(super) conn: &'a Connection,
    /// The time of the transaction: the clock's, but never before any earlier transaction's.
    pub(super) now: Timestamp,
    pub(super) effects: Effects,
}

/// What is to be told once a transaction is durable.
#[derive(Default)]
pub(super) struct Effects {
    /// Records appended.
    pub(super) fresh: Vec<Fresh>,
    /// There may be room again.
    pub(super) room: bool,
}

/// A job in the queue.
pub(super) struct Queued {
    job: Box<dyn Job>,
    weight: usize,
    _slot: OwnedSemaphorePermit,
}

impl Queued {
    /// A job that runs `work`, with the way its answer comes.
    pub(super) fn new<T, F>(
        work: F,
        weight: usize,
        slot: OwnedSemaphorePermit,
    ) -> (Self, oneshot::Receiver<Result<T, Fault>>)
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Task { work: Some(work), outcome: None, reply });
        let queued = Self { job, weight, _slot: slot };
        (queued, answer)
    }
}

trait Job: Send {
    /// Does the work; on failure gives SQLite's error, if it was one.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Option<rusqlite::Error>>;
    /// Answers; `committed` fails for the jobs of a group that was given up.
    fn finish(self: Box<Self>, committed: Result<(), &rusqlite::Error>);
}

struct Task<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, Fault>>,
    reply: oneshot::Sender<Result<T, Fault>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Option<rusqlite::Error>> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        match self.outcome.insert(work(tx)) {
            Ok(_) => Ok(()),
            Err(Fault::Sql(error)) => Err(Some(again(error))),
            Err(Fault::Backend(_)) => Err(None),
        }
    }

    fn finish(self: Box<Self>, committed: Result<(), &rusqlite::Error>) {
        let outcome = match (self.outcome, committed) {
            (Some(Err(fault)), _) => Err(fault),
            (_, Err(error)) => Err(Fault::Sql(again(error))),
            (Some(Ok(done)), Ok(())) => Ok(done),
            (None, Ok(())) => return,
        };
        // Nobody may be waiting any more: what was asked for has happened all the same.
        let _ = self.reply.send(outcome);
    }
}

/// The thread that writes.
pub(super) struct GroupCommit {
    conn: Connection,
    stamps: Stamps,
    bounds: Bounds,
    signals: Arc<Signals>,
    checkpointer: Checkpointer,
    /// Records appended since the last look for what is past retention.
    unswept: usize,
    /// The last sweep went well.
    sweeps: bool,
}

impl GroupCommit {
    pub(super) fn new(
        conn: Connection,
        settings: &Settings,
        signals: Arc<Signals>,
        checkpointer: Checkpointer,
    ) -> Self {
        Self {
            conn,
            stamps: Stamps::new(settings.clock.clone(), settings.retention_ms),
            bounds: Bounds::of(settings),
            signals,
            checkpointer,
            unswept: 0,
            sweeps: true,
        }
    }

    /// Works until every sender is gone and the queue is done.
    pub(super) fn run(mut self, queue: &mpsc::Receiver<Queued>) {
        // When it is looked for what is past retention. Not once there is nothing to do: readers at the tip always have
        // something to ask.
        let mut due = Instant::now() + IDLE;
        loop {
            match queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    self.commit(gather(first, queue));
                    due = due.min(Instant::now() + IDLE);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.unswept >= retention::STEP || Instant::now() >= due {
                due = Instant::now() + self.sweep();
            }
        }
    }

    fn commit(&mut self, mut group: Vec<Queued>) {
        let outcome = self.transact(|tx| {
            let mut effects = Effects::default();
            for queued in &mut group {
                effects.merge(tx.scoped(queued.job.as_mut())?);
            }
            Ok(effects)
        });
        if let Ok(effects) = &outcome {
            self.unswept += effects.fresh.len();
            self.checkpointer.wrote(group.iter().map(|queued| queued.weight).sum());
        }
        for queued in group {
            queued.job.finish(outcome.as_ref().map(|_| ()));
        }
        if let Ok(effects) = outcome {
            self.signals.tell(&effects);
        }
    }

    /// Deletes a step of what is past retention; returns when to look for more.
    fn sweep(&mut self) -> Duration {
        let limit = retention::STEP.max(2 * std::mem::take(&mut self.unswept));
        let (bounds, now) = (self.bounds.clone(), self.stamps.look());
        let due_ms = retention::next_due(&self.conn, &bounds).map(|due| due.map(|due| due.millis_since(now)));
        match due_ms.unwrap_or(Some(0)).map(u64::try_from) {
            None => return QUIET,
            Some(Ok(wait_ms)) if wait_ms > 0 => return Duration::from_millis(wait_ms).clamp(IDLE, QUIET),
            Some(_) => {}
        }
        let spares_unread = self.stamps.was_set();
        let outcome = self.transact(|tx| {
            let (deleted, room) = retention::sweep(tx.conn, &bounds, (tx.now, spares_unread), limit)?;
            let effects = Effects { room, ..Effects::default() };
            Ok((effects, deleted >= limit))
        });
        match outcome {
            Ok((effects, more)) => {
                self.sweeps = true;
                self.signals.tell(&effects);
                if more { Duration::ZERO } else { IDLE }
            }
            Err(error) => {
                if std::mem::replace(&mut self.sweeps, false) {
                    tracing::warn!(%error, "records past retention could not be deleted; trying again");
                }
                IDLE
            }
        }
    }

    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Grouped<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let stored: Option<i64> =
            tx.prepare_cached("SELECT max(last_arrival) FROM shard")?.query_row([], |row| row.get(0))?;
        let stored = stored.map_or(Timestamp::MIN, Timestamp::from_millis);
        let mut grouped = Grouped { conn: &tx, now: self.stamps.next(stored) };
        let done = work(&mut grouped)?;
        tx.commit()?;
        Ok(done)
    }
}

impl Effects {
    fn merge(&mut self, other: Self) {
        self.fresh.extend(other.fresh);
        self.room |= other.room;
    }
}

/// An open transaction that takes one job after the other.
struct Grouped<'a> {
    conn: &'a Connection,
    now: Timestamp,
}

impl Grouped<'_> {
    /// Runs one job so that its failure takes back its own work only; fails where SQLite gave up the transaction.
    fn scoped(&self, job: &mut dyn Job) -> rusqlite::Result<Effects> {
        self.conn.prepare_cached("SAVEPOINT job")?.execute([])?;
        let mut tx = Tx { conn: self.conn, now: self.now, effects: Effects::default() };
        let outcome = job.run(&mut tx);
        let effects = tx.effects;
        match outcome {
            Ok(()) => {
                self.conn.prepare_cached("RELEASE job")?.execute([])?;
                Ok(effects)
            }
            Err(cause) if self.conn.is_autocommit() => Err(cause.unwrap_or_else(given_up)),
            Err(_) => {
                self.conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
                self.conn.prepare_cached("RELEASE job")?.execute([])?;
                Ok(Effects::default())
            }
        }
    }
}

fn given_up() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ABORT), None)
}

fn gather(first: Queued, queue: &mpsc::Receiver<Queued>) -> Vec<Queued> {
    let mut bytes = first.weight;
    let mut group = vec![first];
    while group.len() < GROUP_JOBS && bytes < GROUP_BYTES {
        let Ok(next) = queue.try_recv() else { break };
        bytes += next.weight;
        group.push(next);
    }
    group
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_group_ends_at_its_bounds_and_nothing_is_left_out() {
        let slots = Arc::new(Semaphore::new(1_000));
        let groups = |weights: &[usize]| {
            let (jobs, queue) = mpsc::channel();
            for &weight in weights {
                let slot = Arc::clone(&slots).try_acquire_owned().unwrap();
                jobs.send(Queued::new(|_: &mut Tx<'_>| Ok(()), weight, slot).0).unwrap();
            }
            let next = || queue.try_recv().ok().map(|first| gather(first, &queue).len());
            std::iter::from_fn(next).collect::<Vec<usize>>()
        };
        assert_eq!(groups(&[1; 2 * GROUP_JOBS + 1]), [GROUP_JOBS, GROUP_JOBS, 1]);
        assert_eq!(groups(&[GROUP_BYTES / 2; 5]), [2, 2, 1]);
        assert_eq!(groups(&[GROUP_BYTES - 1, 1, 1]), [2, 1]);
        assert_eq!(groups(&[5 * GROUP_BYTES, 1]), [1, 1], "a large one goes by itself");
    }
}
