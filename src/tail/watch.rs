//! Wake-ups: the system's notice of changes, or another thread's. Where the system gives none, time passes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::ModifyKind};

use crate::tail::identity::FileId;

/// Directories watched; changes in others are seen at the next refresh.
pub const MAX_WATCHES: usize = 4_096;

/// Changed files remembered between two polls; beyond it everything is looked at and watched anew.
const MAX_CHANGED: usize = 4_096;

/// Changes gathered before a wake-up, so that a busy log does not wake for every line.
const GATHER: Duration = Duration::from_millis(20);

/// What happened since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Files that were written.
    pub(crate) written: HashSet<PathBuf>,
    /// Names appeared, vanished or moved, or something was missed: scan.
    pub(crate) names: bool,
    /// What no longer has its name, perhaps a watched directory.
    vanished: HashSet<PathBuf>,
    /// It was too much to say what: every directory is watched anew.
    lost_track: bool,
    woken: bool,
}

#[derive(Debug, Default)]
struct Shared {
    changes: Mutex<Changes>,
    signal: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, event: notify::Result<Event>) {
        let mut changes = self.lock();
        match event {
            Ok(event) if event.need_rescan() => changes.names = true,
            Ok(Event { kind: EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)), .. }) => {
                return;
            }
            Ok(Event { kind: EventKind::Modify(ModifyKind::Data(_)), paths, .. })
                if changes.written.len() < MAX_CHANGED =>
            {
                changes.written.extend(paths);
            }
            Ok(event) => {
                changes.names = true;
                if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
                    changes.vanished.extend(event.paths);
                    changes.lost_track |= changes.vanished.len() > MAX_CHANGED;
                    if changes.lost_track {
                        changes.vanished.clear();
                    }
                }
            }
            Err(_) => changes.names = true,
        }
        drop(changes);
        self.signal.notify_all();
    }
}

/// Wakes a [`Tailer`](super::Tailer) that waits, from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

impl Waker {
    /// Ends the wait under way, or the next one at once.
    pub fn wake(&self) {
        self.0.lock().woken = true;
        self.0.signal.notify_all();
    }
}

/// Watches the directories that can hold logs.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    system: Option<RecommendedWatcher>,
    watched: HashMap<PathBuf, FileId>,
}

impl Watcher {
    /// A watcher, and why it only waits if it does.
    pub(crate) fn new() -> (Self, Option<String>) {
        let mut watcher = Self::idle();
        let receiver = Arc::clone(&watcher.shared);
        match notify::recommended_watcher(move |event| receiver.take_in(event)) {
            Ok(system) => watcher.system = Some(system),
            Err(error) => return (watcher, Some(error.to_string())),
        }
        (watcher, None)
    }

    /// One that only waits.
    pub(crate) fn idle() -> Self {
        Self { shared: Arc::default(), system: None, watched: HashMap::new() }
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.shared))
    }

    /// Watches these directories and no others; returns why one cannot be watched.
    pub(crate) fn follow(&mut self, directories: &BTreeMap<PathBuf, FileId>) -> Option<String> {
        let system = self.system.as_mut()?;
        self.watched.retain(|path, id| {
            let stays = directories.get(path) == Some(id);
            if !stays {
                // It fails if the directory is gone, and then there is nothing to do.
                let _ = system.unwatch(path);
            }
            stays
        });
        let mut trouble = None;
        for (path, id) in directories {
            if self.watched.contains_key(path) {
                continue;
            }
            if self.watched.len() >= MAX_WATCHES {
                trouble = Some(format!("more than {MAX_WATCHES} directories"));
                break;
            }
            match system.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone(), *id);
                }
                Err(error) => trouble = Some(error.to_string()),
            }
        }
        trouble
    }

    /// Waits until something changes, a [`Waker`] wakes it or `timeout` is over; then it says false.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let idle = |changes: &mut Changes| !changes.woken && !changes.names && changes.written.is_empty();
        let changes = self.shared.lock();
        let waited = self.shared.signal.wait_timeout_while(changes, timeout, idle);
        let (changes, result) = waited.unwrap_or_else(PoisonError::into_inner);
        if !result.timed_out() && !changes.woken {
            let gathered = self.shared.signal.wait_timeout_while(changes, GATHER, |changes| !changes.woken);
            drop(gathered);
        }
        !result.timed_out()
    }

    /// What happened since the last call.
    pub(crate) fn take(&mut self) -> Changes {
        let changes = std::mem::take(&mut *self.shared.lock());
        // A directory that comes back can have the inode of the old one: its watch is gone nevertheless.
        let gone = |path: &PathBuf| changes.lost_track || changes.vanished.contains(path);
        let system = &mut self.system;
        self.watched.retain(|path, _| {
            let stays = !gone(path);
            if let Some(system) = system.as_mut().filter(|_| !stays) {
                let _ = system.unwatch(path);
            }
            stays
        });
        changes
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, thread};

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn directories(path: &Path) -> BTreeMap<PathBuf, FileId> {
        BTreeMap::from([(path.to_owned(), FileId::of(&fs::metadata(path).unwrap()))])
    }

    /// Does `act` until the watcher reports what is `wanted`.
    fn until(watcher: &mut Watcher, logs: &Path, act: impl Fn(), wanted: impl Fn(&Changes) -> bool) {
        loop {
            watcher.follow(&directories(logs));
            act();
            watcher.wait(Duration::from_millis(200));
            if wanted(&watcher.take()) {
                return;
            }
        }
    }

    #[test]
    fn a_write_and_a_new_name_wake_and_a_directory_that_comes_back_is_watched_again() {
        let root = tempfile::tempdir().unwrap();
        let logs = root.path().join("logs");
        let file = logs.join("a.log");
        let (mut watcher, trouble) = Watcher::new();
        assert_eq!(trouble, None);
        for _ in 0..20 {
            fs::create_dir(&logs).unwrap();
            let write = || fs::write(&file, "one\n").unwrap();
            until(&mut watcher, &logs, write, |changes| changes.written.contains(&file));
            fs::remove_dir_all(&logs).unwrap();
        }
    }

    #[test]
    fn past_the_bound_directories_wait_for_the_next_refresh_and_that_is_told() {
        let root = tempfile::tempdir().unwrap();
        let mut directories = BTreeMap::new();
        for number in 0..=MAX_WATCHES {
            let path = root.path().join(number.to_string());
            fs::create_dir(&path).unwrap();
            directories.insert(path.clone(), FileId::of(&fs::metadata(&path).unwrap()));
        }
        let (mut watcher, _) = Watcher::new();
        assert_eq!(watcher.follow(&directories).as_deref(), Some("more than 4096 directories"));
        assert_eq!(watcher.watched.len(), MAX_WATCHES);
        directories.pop_last();
        watcher.follow(&directories);
        assert_eq!(watcher.follow(&directories), None);
    }

    #[test]
    fn past_the_bound_changes_are_no_longer_told_apart() {
        let shared = Shared::default();
        let event = |kind, number: usize| Ok(Event::new(kind).add_path(PathBuf::from(number.to_string())));
        let written = EventKind::Modify(ModifyKind::Data(notify::event::DataChange::Any));
        for number in 0..=MAX_CHANGED {
            assert!(!shared.lock().names);
            shared.take_in(event(written, number));
        }
        assert!(shared.lock().names && shared.lock().written.len() == MAX_CHANGED);
        let removed = EventKind::Remove(notify::event::RemoveKind::File);
        for number in 0..=MAX_CHANGED {
            assert!(!shared.lock().lost_track);
            shared.take_in(event(removed, number));
        }
        assert!(shared.lock().lost_track && shared.lock().vanished.is_empty());
    }

    #[test]
    fn another_thread_ends_the_wait_also_before_it_begins() {
        let (mut watcher, _) = Watcher::new();
        watcher.waker().wake();
        watcher.wait(LONG);
        watcher.take();
        let waker = watcher.waker();
        thread::scope(|scope| {
            scope.spawn(|| waker.wake());
            watcher.wait(LONG);
        });
    }
}
