//! The tailer's face: open, poll, wait, acknowledge, states, status. The work is in its siblings.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    path::PathBuf,
    time::Duration,
};

use crate::{
    engine::time::Timestamp,
    tail::{
        TailError,
        discovery::Patterns,
        identify::Resting,
        identity::{FileId, Stamp},
        lines::{Piece, READ_SIZE},
        notice::{Notice, Notices},
        reading::Buffers,
        resume::{self, LEDGER, Ledger, State},
        rotation::max_open,
        source::{Place, Source},
        watch::{Waker, Watcher},
    },
};

/// Files watched at once unless the configuration says otherwise.
pub const DEFAULT_MAX_FILES: usize = 4_096;

/// How often directories are looked at unless the configuration says otherwise.
pub const DEFAULT_REFRESH_MS: u64 = 1_000;

/// The least time between two scans that changes of names ask for.
const SCAN_GAP_MS: u64 = 100;

/// Buffers that are kept for reuse, of a little more than [`READ_SIZE`] each.
const MAX_SPARE: usize = 16;

/// Where reading starts in files that are there at the very first start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At their first byte.
    #[default]
    Beginning,
    /// Behind their last whole line.
    End,
}

/// What to tail, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Globs, also in directory parts; `**` is any number of directories.
    pub patterns: Vec<String>,
    /// Globs of paths, or of names if they hold no `/`, that are not read.
    pub exclude: Vec<String>,
    /// For files that are there at the first start. Files that appear later are read from their beginning.
    pub start: Start,
    /// Follow links that lead out of the directories of the patterns. Links inside are always followed.
    pub follow_links: bool,
    /// The directory of the program's own state, in which no file is ever opened: a process that closes a file gives up
    /// its locks on it, those of SQLite included (POSIX, fcntl), and another process may then take the file apart.
    pub private: Option<PathBuf>,
    /// Milliseconds from one scan of the directories to the next.
    pub refresh_ms: u64,
    /// Let the system tell of changes. Without it they are seen at the next scan, as where the system tells of none.
    pub watch: bool,
    /// Files watched at once; of more, those written last are, with a notice.
    pub max_files: usize,
}

impl Settings {
    /// The defaults, for these patterns.
    #[must_use]
    pub fn new(patterns: Vec<String>) -> Self {
        Self {
            patterns,
            exclude: Vec::new(),
            start: Start::default(),
            follow_links: false,
            private: None,
            refresh_ms: DEFAULT_REFRESH_MS,
            watch: true,
            max_files: DEFAULT_MAX_FILES,
        }
    }
}

/// What a poll gave.
#[derive(Debug, Default)]
pub struct Polled {
    /// In the order of each file.
    pub pieces: Vec<Piece>,
    /// The states of generations that are new, as they were before their first piece, with the ledger before them. A
    /// stage that cannot store [`Tailer::states`] in one transaction with the pieces stores these first.
    pub born: Vec<State>,
    /// There was nothing more to read.
    pub caught_up: bool,
    /// What the operator should know.
    pub notices: Vec<Notice>,
}

/// One source, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its current or last name.
    pub path: PathBuf,
    /// The life of the file.
    pub generation: u64,
    /// Bytes seen; of a compressed file, unpacked ones.
    pub size: u64,
    /// Everything below was handed out.
    pub position: u64,
    /// Everything below is durable.
    pub acked: u64,
    /// A pattern matches it, or it is still open.
    pub present: bool,
}

/// A file without content, or whose content was replaced: it becomes a source with its first bytes.
pub(super) struct Empty {
    pub(super) path: PathBuf,
    /// The sources that were in this file and are no longer.
    pub(super) former: Vec<u64>,
    pub(super) file: Option<File>,
    /// When a pattern matched it last.
    pub(super) since: Timestamp,
}

/// A file that holds what a source holds, and is not read.
pub(super) struct Copy {
    pub(super) generation: u64,
    pub(super) stamp: Stamp,
    pub(super) path: PathBuf,
}

/// Follows log files. See the [module](super).
///
/// ```
/// use logtally::{engine::time::Timestamp, tail::{Settings, Tailer}};
///
/// let directory = tempfile::tempdir()?;
/// let log = directory.path().join("access.log");
/// std::fs::write(&log, "10.0.0.1 one\n10.0.0.2 begun")?;
/// let settings = Settings::new(vec![format!("{}*", log.display())]);
/// let now = Timestamp::from_millis(0);
///
/// let mut tailer = Tailer::open(settings.clone(), &[], now)?;
/// assert_eq!(tailer.poll(now, 1 << 20).pieces[0].data, b"10.0.0.1 one\n");
/// let states = tailer.states();
/// drop(tailer);
///
/// std::fs::write(directory.path().join("access.log"), "10.0.0.1 one\n10.0.0.2 begun, ended\n")?;
/// std::fs::rename(&log, directory.path().join("access.log.1"))?;
/// let mut tailer = Tailer::open(settings, &states, now)?;
/// assert_eq!(tailer.poll(now, 1 << 20).pieces[0].data, b"10.0.0.2 begun, ended\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each with a life of its own")]
pub struct Tailer {
    pub(super) settings: Settings,
    pub(super) patterns: Patterns,
    pub(super) sources: BTreeMap<u64, Source>,
    /// Descriptors of sources; half as many are held of empty files.
    pub(super) max_open: usize,
    pub(super) empties: HashMap<FileId, Empty>,
    pub(super) copies: HashMap<FileId, Copy>,
    /// Compressed files that are perhaps still being written, and since when they look like this.
    pub(super) resting: Resting,
    /// The last scan met one that has not rested yet.
    pub(super) unrested: bool,
    /// Files that turned out not to be what their beginnings promised.
    pub(super) rejected: HashSet<(FileId, u64)>,
    pub(super) ledger: Ledger,
    pub(super) ledger_changed: bool,
    pub(super) forgotten: Vec<u64>,
    /// What the caller held back at the last look at the states.
    held: BTreeMap<u64, u64>,
    pub(super) born: Vec<State>,
    pub(super) first_scan: bool,
    pub(super) first_start: bool,
    pub(super) notices: Notices,
    scanned_at: Option<Timestamp>,
    pub(super) scan_wanted: bool,
    pub(super) buffers: Buffers,
    /// The generation that was read last.
    pub(super) turn: u64,
    pub(super) turns: u64,
    pub(super) watcher: Watcher,
}

impl Tailer {
    /// Takes up tailing where the states that were stored, `known`, left it.
    ///
    /// # Errors
    /// If a pattern or a state cannot be understood.
    pub fn open(settings: Settings, known: &[State], now: Timestamp) -> Result<Self, TailError> {
        let patterns = Patterns::new(&settings)?;
        let (ledger, stored) = resume::restore(known)?;
        let sources =
            stored.into_iter().map(|(number, stored)| (number, Source::new(number, stored, now))).collect();
        let (watcher, trouble) = if settings.watch { Watcher::new() } else { (Watcher::idle(), None) };
        let mut notices = Notices::default();
        if let Some(why) = trouble {
            notices.add(Notice::Polling { why });
        }
        Ok(Self {
            settings,
            patterns,
            sources,
            max_open: max_open(),
            empties: HashMap::new(),
            copies: HashMap::new(),
            resting: Resting::default(),
            unrested: false,
            rejected: HashSet::new(),
            first_scan: true,
            first_start: ledger.is_none(),
            ledger: ledger.unwrap_or_else(|| Ledger::new(now)),
            ledger_changed: true,
            forgotten: Vec::new(),
            held: BTreeMap::new(),
            born: Vec::new(),
            notices,
            scanned_at: None,
            scan_wanted: false,
            buffers: Buffers { scratch: vec![0; READ_SIZE], spare: Vec::new() },
            turn: 0,
            turns: 0,
            watcher,
        })
    }

    /// Scans the directories if that is due, and reads about `budget` bytes (at least one buffer, if there is so
    /// much), from all files in turn. Does not wait.
    pub fn poll(&mut self, now: Timestamp, budget: usize) -> Polled {
        self.take_changes();
        let gap = if self.scan_wanted { SCAN_GAP_MS } else { u64::MAX }.min(self.settings.refresh_ms);
        let gap = i64::try_from(gap).unwrap_or(i64::MAX);
        if self.scanned_at.is_none_or(|last| !(0..gap).contains(&now.millis_since(last))) {
            self.scanned_at = Some(now);
            self.scan_wanted = false;
            self.scan(now);
        }
        let mut pieces = Vec::new();
        let caught_up = self.read(budget, now, &mut pieces);
        Polled { pieces, born: std::mem::take(&mut self.born), caught_up, notices: self.notices.take() }
    }

    /// Lets the next poll scan, however short ago the last one was.
    pub fn look_again(&mut self) {
        self.scanned_at = None;
    }

    fn take_changes(&mut self) {
        let changes = self.watcher.take();
        self.scan_wanted |= changes.names;
        if changes.written.is_empty() {
            return;
        }
        for source in self.sources.values_mut().filter(|source| !source.is_packed()) {
            let written = source.names().iter().any(|name| changes.written.contains(name));
            source.pending |= written && source.place != Place::Lost;
        }
        self.scan_wanted |= self.empties.values().any(|empty| changes.written.contains(&empty.path));
    }

    /// Waits until there may be something to poll, a [`Waker`] wakes it or `timeout` is over; then it says false.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        let most = if self.scan_wanted { SCAN_GAP_MS } else { u64::MAX }.min(self.settings.refresh_ms);
        self.watcher.wait(timeout.min(Duration::from_millis(most)))
    }

    /// How long a change may go unnoticed where nothing tells of it.
    #[must_use]
    pub fn refresh(&self) -> Duration {
        Duration::from_millis(self.settings.refresh_ms)
    }

    /// Ends [`Self::wait`] from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.watcher.waker()
    }

    /// Gives the memory of a piece back, to be read into again: fresh memory costs more than the reading. Optional.
    pub fn recycle(&mut self, data: Vec<u8>) {
        if self.buffers.spare.len() < MAX_SPARE && data.capacity() >= READ_SIZE {
            self.buffers.spare.push(data);
        }
    }

    /// Everything below `end` of this source is durable.
    pub fn acknowledge(&mut self, generation: u64, end: u64) {
        if let Some(source) = self.sources.get_mut(&generation) {
            source.acked = source.acked.max(end.min(source.stored.position));
        }
    }

    /// Everything below `first` of this source is not sent: it is the header of the file.
    pub fn pass_over(&mut self, generation: u64, first: u64) {
        if let Some(source) = self.sources.get_mut(&generation) {
            source.changed |= source.stored.first != first;
            source.stored.first = first;
        }
    }

    /// Takes a generation for a source that is not a file, as standard input. Store [`Self::states`] before its
    /// first bytes are sent.
    pub fn claim_generation(&mut self) -> u64 {
        self.ledger_changed = true;
        self.ledger.assign()
    }

    /// The states that changed since the last call, the ledger first; an empty one says: forget this source.
    ///
    /// Positions are those of what was handed out up to now. The caller stores the states with the pieces, also when
    /// there are none.
    pub fn states(&mut self) -> Vec<State> {
        self.states_behind(&BTreeMap::new())
    }

    /// As [`Self::states`], for a caller that holds bytes back: `held` says by generation from which offset on. The
    /// positions of these sources are no further than that.
    pub fn states_behind(&mut self, held: &BTreeMap<u64, u64>) -> Vec<State> {
        let mut states = Vec::new();
        for (generation, before) in std::mem::replace(&mut self.held, held.clone()) {
            if held.get(&generation) != Some(&before)
                && let Some(source) = self.sources.get_mut(&generation)
            {
                source.changed = true;
            }
        }
        if std::mem::take(&mut self.ledger_changed) {
            states.push((LEDGER, resume::encode(&self.ledger)));
        }
        for (&generation, source) in &mut self.sources {
            if !source.changed {
                continue;
            }
            let state = match held.get(&generation) {
                None => Some(resume::encode(&source.stored)),
                Some(&from) => source.stored_at(from).map(|stored| resume::encode(&stored)),
            };
            // What cannot be told now is told later; what was stored before is no further.
            source.changed = state.is_none();
            states.extend(state.map(|state| (generation, state)));
        }
        states.extend(self.forgotten.drain(..).map(|generation| (generation, Vec::new())));
        states
    }

    /// Every source that is remembered, in the order of generations.
    #[must_use]
    pub fn status(&self) -> Vec<SourceStatus> {
        let status = |source: &Source| SourceStatus {
            path: source.path.clone(),
            generation: source.generation,
            size: source.size,
            position: source.stored.position,
            acked: source.acked,
            present: !matches!(source.place, Place::Lost | Place::Unknown),
        };
        self.sources.values().map(status).collect()
    }
}
