//! Log files straight through the engine, in parallel. Keeps no state.
//!
//! Logs of several nodes are read side by side: always the one with the least progress next, so that windows close in
//! order and memory does not grow with the logs. The order in which blocks are merged depends on the bytes of the logs
//! alone, and so does every byte of the result.

mod log;
mod workers;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use crate::{
    engine::{
        count::{Counter, Plan, split_line},
        counters::Counters,
        engine::Engine,
        format::{LogFormat, StampCache},
        gather::median,
        reason::Reason,
        reference::Reference,
        row::{Origin, Output},
        samples::{LINE_BYTES, Samples},
        settings::{Mode, Settings as EngineSettings},
        state::State,
        time::Timestamp,
    },
    replay::{
        log::{Log, Next},
        workers::{Reading, Workers},
    },
};

/// How many lines are shown of a log that cannot be parsed.
const SAMPLES: usize = 3;

/// What to replay, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Plain, gzip or zstd, in any order; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// How lines are read and grouped.
    pub plan: Arc<Plan>,
    /// Who owns which host.
    pub reference: Arc<Reference>,
    /// How far lines may be out of order before their window counts as late, in milliseconds.
    pub disorder_ms: i64,
    /// How many threads count.
    pub threads: usize,
    /// Whether to add a zero for every application without a request.
    pub zero_rows: bool,
    /// How many unknown hosts a row names.
    pub top_hosts: usize,
}

/// What the logs came to.
#[derive(Debug)]
pub struct Summary {
    /// The books.
    pub counters: Counters,
    /// Malformed lines to show.
    pub samples: Samples,
    /// Logs that could not be read to their end: what was read is counted.
    pub broken: Vec<(PathBuf, io::Error)>,
}

/// Why nothing, or not everything, was replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A log that cannot be opened.
    #[error("{0}")]
    Open(io::Error),
    /// A log in another format.
    #[error("{}: {}", path.display(), refusal(*lines, samples, *nearest))]
    Refused {
        /// The log.
        path: PathBuf,
        /// How many of its first lines were tried.
        lines: u64,
        /// The first of them, and why and at which column each is malformed.
        samples: Vec<(Vec<u8>, Reason, u64)>,
        /// The named format that would read them.
        nearest: Option<&'static str>,
    },
    /// The rows could not be written.
    #[error("cannot write the rows: {0}")]
    Output(#[source] io::Error),
}

/// Counts every line of the logs and hands rows to `emit` as soon as they can change no more. `bytes` is advanced as
/// bytes are counted, for a progress bar.
///
/// # Errors
/// If a log cannot be opened or none of its first lines can be parsed, before any row is emitted; or what `emit` says.
pub fn run(
    settings: &Settings,
    bytes: &Arc<AtomicU64>,
    mut emit: impl FnMut(Vec<Output>) -> io::Result<()>,
) -> Result<Summary, ReplayError> {
    let files = in_order_of_first_stamps(settings)?;
    let mut engine = engine(settings);
    let broken = std::thread::scope(|scope| {
        let counting = (&settings.plan, &settings.reference);
        let workers = Workers::start(scope, settings.threads, counting, bytes);
        // The logs not finished yet, by progress: the first stamp of one that is not open, then the median of its last block.
        let mut unfinished: BTreeSet<(Timestamp, usize)> =
            files.iter().enumerate().map(|(number, file)| (file.first_stamp, number)).collect();
        let mut merge = Merge { files, open: BTreeMap::new(), workers, broken: Vec::new() };
        while let Some((at, file)) = unfinished.pop_first() {
            if let Some(reached) = merge.block(file, at, &mut engine)? {
                unfinished.insert((reached, file));
            }
            let rows = match unfinished.first() {
                Some((mark, _)) => engine.advance(mark.plus_millis(-settings.disorder_ms)),
                None => engine.close(),
            };
            if !rows.is_empty() {
                emit(rows).map_err(ReplayError::Output)?;
            }
        }
        Ok(merge.broken)
    })?;
    let state = engine.state();
    Ok(Summary { counters: state.counters.clone(), samples: state.samples.clone(), broken })
}

/// A log to replay.
struct File {
    first_stamp: Timestamp,
    path: PathBuf,
    /// Already open, if it can be opened only once.
    log: Option<Log>,
}

struct Merge {
    files: Vec<File>,
    open: BTreeMap<usize, Reading>,
    workers: Workers,
    broken: Vec<(PathBuf, io::Error)>,
}

impl Merge {
    /// Merges the next block of a log; `None` if it was the last, else how far the log is now.
    fn block(
        &mut self,
        file: usize,
        at: Timestamp,
        engine: &mut Engine,
    ) -> Result<Option<Timestamp>, ReplayError> {
        let Some(File { path, log, .. }) = self.files.get_mut(file) else { return Ok(None) };
        if let Entry::Vacant(vacant) = self.open.entry(file) {
            let log = log.take().map_or_else(|| Log::open(path), Ok).map_err(ReplayError::Open)?;
            vacant.insert(Reading::of(log));
        }
        let (block, next) = self.workers.next(file, &mut self.open);
        let reached = median(&block.windows).map_or(at, |median| median.max(at));
        engine.absorb(block);
        match next {
            Next::Block => return Ok(Some(reached)),
            Next::End => {}
            Next::Broken(error) => self.broken.push((path.clone(), error)),
        }
        self.open.remove(&file);
        Ok(None)
    }
}

fn engine(settings: &Settings) -> Engine {
    let origin = Origin { pipeline: "replay".to_owned(), epoch: 1, shard: "files".to_owned() };
    let engine = EngineSettings {
        origin,
        mode: Mode::Replay,
        allowed_lateness_ms: 0,
        correction_interval_ms: settings.disorder_ms,
        share: 0,
        zero_rows: settings.zero_rows,
        top_hosts: settings.top_hosts,
    };
    let counter = Counter::new(Arc::clone(&settings.plan), Arc::clone(&settings.reference));
    Engine::new(engine, counter, State::new(settings.plan.window)).0
}

/// The logs with their first stamps, in that order, equals by path. A log that is named twice is read once.
fn in_order_of_first_stamps(settings: &Settings) -> Result<Vec<File>, ReplayError> {
    let paths: BTreeSet<&PathBuf> = settings.files.iter().collect();
    let mut files = Vec::with_capacity(paths.len());
    let mut inodes = BTreeSet::new();
    for path in paths {
        let metadata = path.metadata().ok().filter(Metadata::is_file);
        if metadata.is_some_and(|metadata| !inodes.insert((metadata.dev(), metadata.ino()))) {
            tracing::warn!("{}: is named twice; it is read once", path.display());
            continue;
        }
        let (lines, log) = log::peek(path).map_err(ReplayError::Open)?;
        let first_stamp = first_stamp(path, &lines, &settings.plan.format)?;
        files.push(File { first_stamp, path: path.clone(), log });
    }
    files.sort_by(|a, b| (a.first_stamp, &a.path).cmp(&(b.first_stamp, &b.path)));
    Ok(files)
}

/// The stamp of the first line that parses; refuses a log without any.
fn first_stamp(path: &Path, lines: &[u8], format: &LogFormat) -> Result<Timestamp, ReplayError> {
    let (mut stamps, mut memory) = (StampCache::default(), Vec::new());
    let (mut rest, mut refused) = (lines, Vec::new());
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        rest = after;
        match format.parse_or_object(line, &mut memory, &mut stamps) {
            Ok(event) => return Ok(event.time.unwrap_or(Timestamp::MIN)),
            Err(why) if refused.len() < SAMPLES => {
                let sample = line.get(..LINE_BYTES).unwrap_or(line).to_vec();
                refused.push((sample, why.reason, why.column as u64));
            }
            Err(_) => {}
        }
    }
    if refused.is_empty() {
        return Ok(Timestamp::MIN);
    }
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
    let all: Vec<&[u8]> = lines.split(|&byte| byte == b'\n').collect();
    Err(ReplayError::Refused {
        path: path.to_owned(),
        lines: all.len() as u64,
        samples: refused,
        nearest: LogFormat::nearest_named(&all),
    })
}

fn refusal(lines: u64, samples: &[(Vec<u8>, Reason, u64)], nearest: Option<&str>) -> String {
    let remedy = match nearest {
        Some(name) => format!("--log-format {name} would parse them"),
        None if samples.iter().all(|(_, reason, _)| *reason == Reason::Binary) => {
            "it is binary: name access logs".to_owned()
        }
        None => "name their LogFormat with --log-format".to_owned(),
    };
    match lines {
        1 => format!("its only line cannot be parsed; {remedy}"),
        _ => format!("none of the first {lines} lines can be parsed; {remedy}"),
    }
}
