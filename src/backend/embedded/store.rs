//! The connections to the file: one thread that writes, group by group, and a pool of readers. Knows no table but
//! the shards' arrival times.
//!
//! Every write of the process is a job in the queue of one thread. The thread takes the jobs that wait, runs each
//! in a savepoint of one transaction, commits, and only then answers: an answer means durable, and one `fsync`
//! serves the whole group. The jobs of a transaction share one stamp ([`Tx::now`]), which never goes backwards over
//! the whole file. As transactions exclude each other, whatever a reader does not see yet will be stamped at or
//! behind everything it does see.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::AtomicI64,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior, ffi};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    backend::{
        Result,
        embedded::{
            Settings,
            error::{Fault, again, failed, refused},
            retention::{self, Bounds},
            schema,
            tips::{Fresh, Tips},
            wal::Checkpointer,
        },
    },
    clock::Clock,
    engine::{provenance::Node, time::Timestamp},
};

/// Jobs that may wait; past it the callers do.
const QUEUE_JOBS: usize = 256;
/// Jobs in one transaction; further ones wait for the next.
const GROUP_JOBS: usize = 64;
/// Payload in one transaction, in bytes, after which no further job joins it: bounds what a commit must write.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How long the thread waits for a job before it looks for records past retention.
const IDLE: Duration = Duration::from_secs(1);
/// Connections for reading that are kept open when nobody uses them.
const IDLE_READERS: usize = 4;

/// A handle on the file; the thread ends, its queue done, when the last one is dropped.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) path: PathBuf,
    pub(super) clock: Clock,
    pub(super) node: Node,
    pub(super) bounds: Bounds,
    /// How long a reader waits at the tip.
    pub(super) tip_wait: Duration,
    pub(super) signals: Arc<Signals>,
    /// When a full stream was last warned about, in milliseconds.
    pub(super) warned: AtomicI64,
    jobs: mpsc::Sender<Queued>,
    slots: Arc<Semaphore>,
    readers: Mutex<Vec<Connection>>,
}

/// What the writing thread tells the tasks that wait.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// The ends of the shards.
    pub(super) tips: Tips,
    /// Something was deleted, or a consumer went on: there may be room again.
    pub(super) room: Notify,
}

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

impl Store {
    /// Opens or creates the file and starts its thread.
    pub(super) fn open(settings: &Settings) -> Result<Arc<Self>> {
        let (conn, node) = schema::open(settings)?;
        let path = settings.path.canonicalize().map_err(|error| {
            failed(format!("{}: cannot be found again: {error}", settings.path.display()), error)
        })?;
        let bounds = Bounds::of(settings);
        let (jobs, queue) = mpsc::channel();
        let signals = Arc::new(Signals::default());
        let thread = Writer {
            checkpointer: Checkpointer::start(&path)?,
            conn,
            clock: settings.clock.clone(),
            bounds: bounds.clone(),
            signals: Arc::clone(&signals),
            latest: Timestamp::MIN,
            unswept: 0,
        };
        spawn("logtally-store", move || thread.run(&queue))?;
        Ok(Arc::new(Self {
            path,
            clock: settings.clock.clone(),
            node,
            bounds,
            tip_wait: Duration::from_millis(settings.tip_wait_ms),
            signals,
            warned: AtomicI64::new(i64::MIN),
            jobs,
            slots: Arc::new(Semaphore::new(QUEUE_JOBS)),
            readers: Mutex::default(),
        }))
    }

    /// Runs `work` in the next transaction and answers once that is durable; `weight` is its payload in bytes.
    pub(super) async fn write<T, F>(&self, weight: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let ended = || refused(format!("{}: its writing thread has ended", self.path.display()));
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| ended())?;
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Task { work: Some(work), outcome: None, reply });
        let queued = Queued { job, weight, _slot: slot };
        self.jobs.send(queued).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?.map_err(|fault| fault.at(&self.path))
    }

    /// Runs `work` on a connection that only reads.
    pub(super) async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let store = Arc::clone(self);
        blocking(move || {
            let run = || {
                let conn = match store.idle_readers().pop() {
                    Some(conn) => conn,
                    None => schema::open_reader(&store.path)?,
                };
                let outcome = work(&conn);
                let mut idle = store.idle_readers();
                if idle.len() < IDLE_READERS {
                    idle.push(conn);
                }
                outcome
            };
            run().map_err(|fault: Fault| fault.at(&store.path))
        })
        .await
    }

    fn idle_readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| failed("a call of the embedded store was given up", error))?
}

/// Starts a named thread of the store.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map(drop)
        .map_err(|error| failed(format!("the thread {name} cannot be started: {error}"), error))
}

struct Queued {
    job: Box<dyn Job>,
    weight: usize,
    _slot: OwnedSemaphorePermit,
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

struct Writer {
    conn: Connection,
    clock: Clock,
    bounds: Bounds,
    signals: Arc<Signals>,
    checkpointer: Checkpointer,
    latest: Timestamp,
    /// Records appended since the last look for what is past retention.
    unswept: usize,
}

impl Writer {
    fn run(mut self, queue: &mpsc::Receiver<Queued>) {
        let mut wait = IDLE;
        loop {
            match queue.recv_timeout(wait) {
                Ok(first) => self.commit(gather(first, queue)),
                Err(RecvTimeoutError::Timeout) => wait = if self.sweep() { Duration::ZERO } else { IDLE },
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.unswept >= retention::STEP {
                self.sweep();
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

    /// Deletes a step of what is past retention; whether there may be more.
    fn sweep(&mut self) -> bool {
        let limit = retention::STEP.max(2 * std::mem::take(&mut self.unswept));
        let (bounds, now) = (self.bounds.clone(), self.clock.now());
        if !retention::is_due(&self.conn, &bounds, now).unwrap_or(true) {
            return false;
        }
        let outcome = self.transact(|tx| {
            let (deleted, room) = retention::sweep(tx.conn, &bounds, tx.now, limit)?;
            let effects = Effects { room, ..Effects::default() };
            Ok((effects, deleted >= limit))
        });
        match outcome {
            Ok((effects, more)) => {
                self.signals.tell(&effects);
                more
            }
            Err(error) => {
                tracing::warn!(%error, "records past retention could not be deleted; trying again");
                false
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
        self.latest = self.latest.max(stored).max(self.clock.now());
        let mut grouped = Grouped { conn: &tx, now: self.latest };
        let done = work(&mut grouped)?;
        tx.commit()?;
        Ok(done)
    }
}

impl Signals {
    fn tell(&self, effects: &Effects) {
        self.tips.add(&effects.fresh);
        if effects.room {
            self.room.notify_waiters();
        }
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

/// Where a database's companion file lies.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
