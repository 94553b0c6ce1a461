//! The connections to the file: the queue of the one thread that writes, and a pool of readers. Knows no table.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64, mpsc},
    thread,
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{Notify, Semaphore};

use crate::{
    backend::{
        BackendError, Result,
        embedded::{
            Settings,
            error::{Fault, failed, refused},
            group::{Effects, GroupCommit, Queued, Tx},
            identity::Identity,
            retention::Bounds,
            schema,
            tips::Tips,
            wal::Checkpointer,
        },
    },
    clock::Clock,
    engine::provenance::Node,
};

/// Jobs that may wait; past it the callers do.
const QUEUE_JOBS: usize = 256;
/// Connections for reading that are kept open when nobody uses them.
const IDLE_READERS: usize = 4;

/// A handle on the file; the thread ends, its queue done, when the last one is dropped.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) path: PathBuf,
    identity: Identity,
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

impl Signals {
    /// A transaction with these effects is durable.
    pub(super) fn tell(&self, effects: &Effects) {
        self.tips.add(&effects.fresh);
        if effects.room {
            self.room.notify_waiters();
        }
    }
}

impl Store {
    /// Opens or creates the file and starts its thread.
    pub(super) fn open(settings: &Settings) -> Result<Arc<Self>> {
        let (conn, node) = schema::open(settings)?;
        let found = settings.path.canonicalize().and_then(|path| Ok((Identity::of(&path)?, path)));
        let (identity, path) = found.map_err(|error| {
            failed(format!("{}: cannot be found again: {error}", settings.path.display()), error)
        })?;
        let bounds = Bounds::of(settings);
        let (jobs, queue) = mpsc::channel();
        let signals = Arc::new(Signals::default());
        let thread = GroupCommit::new(conn, settings, Arc::clone(&signals), Checkpointer::start(&path)?);
        spawn("logtally-store", move || thread.run(&queue))?;
        Ok(Arc::new(Self {
            path,
            identity,
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
        self.identity.check()?;
        let ended = || refused(format!("{}: its writing thread has ended", self.path.display()));
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| ended())?;
        let (queued, answer) = Queued::new(work, weight, slot);
        self.jobs.send(queued).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?.map_err(|fault| self.explain(fault))
    }

    /// What went wrong, or why that could not but go wrong.
    pub(super) fn explain(&self, fault: Fault) -> BackendError {
        self.identity.check().err().unwrap_or_else(|| fault.at(&self.path))
    }

    /// Runs `work` on a connection that only reads.
    pub(super) async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let store = Arc::clone(self);
        blocking(move || {
            store.identity.check()?;
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
            run().map_err(|fault| store.explain(fault))
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

/// Where a database's companion file lies.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn past_the_bound_on_jobs_the_callers_wait() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&Settings::new(root.path().join("state.db"), Clock::system())).unwrap();
        let (release, released) = mpsc::channel::<()>();
        let (mut tasks, done) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        let begun = Arc::new(AtomicUsize::new(0));
        let blocked = Arc::clone(&store);
        let wait = move |_: &mut Tx<'_>| {
            released.recv().ok();
            Ok(())
        };
        tasks.spawn(async move { blocked.write(0, wait).await });
        for _ in 0..QUEUE_JOBS + 10 {
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            let count = move |_: &mut Tx<'_>| {
                done.fetch_add(1, Ordering::SeqCst);
                Ok(())
            };
            let begun = Arc::clone(&begun);
            tasks.spawn(async move {
                begun.fetch_add(1, Ordering::SeqCst);
                store.write(0, count).await
            });
        }
        // One thread runs them in turn, each as far as it comes.
        while begun.load(Ordering::SeqCst) < QUEUE_JOBS + 10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.slots.available_permits(), 0);
        // What is in the queue is done whoever waits for it, and the rest is not.
        tasks.shutdown().await;
        release.send(()).unwrap();
        store.write(0, |_| Ok(())).await.unwrap();
        assert_eq!(done.load(Ordering::SeqCst), QUEUE_JOBS - 1);
    }
}
