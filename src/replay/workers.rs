//! Blocks of logs counted by threads. The results are the same however many there are; so is their order.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::Scope,
};

use crate::{
    engine::{
        count::{Block, Counter, Plan},
        reference::Reference,
        time::Timestamp,
    },
    replay::log::{Log, Next},
};

/// Blocks that are asked for ahead, a thread: the others go on counting while rows are written. What a block came to is
/// small.
const AHEAD: u64 = 8;

/// A log being read, shared by the threads that read it in turn.
type Shared = Arc<Mutex<Log>>;

/// One counted block, and what follows it.
pub(crate) type Counted = (Block, Next);

struct Done {
    log: usize,
    number: u64,
    counted: Counted,
}

struct Job {
    log: usize,
    shared: Shared,
}

/// Jobs that wait for a thread.
type Waiting = Arc<Mutex<Receiver<Job>>>;

/// Counts blocks, with further threads or without.
pub(crate) struct Workers {
    counter: Counter,
    buffer: Vec<u8>,
    bytes: Arc<AtomicU64>,
    jobs: Option<Sender<Job>>,
    waiting: Waiting,
    done: Receiver<Done>,
    ahead: u64,
}

/// One open log: what was asked for and what came back.
pub(crate) struct Reading {
    shared: Shared,
    asked: u64,
    taken: u64,
    ready: BTreeMap<u64, Counted>,
}

impl Reading {
    /// Nothing is read yet.
    pub(crate) fn of(log: Log) -> Self {
        Self { shared: Arc::new(Mutex::new(log)), asked: 0, taken: 0, ready: BTreeMap::new() }
    }
}

impl Workers {
    /// Counts with `threads` threads: who asks for blocks is one of them, the others start in `scope`.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        threads: usize,
        counting: (&Arc<Plan>, &Arc<Reference>),
        bytes: &Arc<AtomicU64>,
    ) -> Self {
        let (jobs, waiting) = channel();
        let (finished, done) = channel();
        let waiting: Waiting = Arc::new(Mutex::new(waiting));
        let counter = || Counter::new(Arc::clone(counting.0), Arc::clone(counting.1));
        for _ in 1..threads {
            let (waiting, finished, bytes) = (Arc::clone(&waiting), finished.clone(), Arc::clone(bytes));
            let mut counter = counter();
            scope.spawn(move || work(&waiting, &finished, &mut counter, &bytes));
        }
        Self {
            counter: counter(),
            buffer: Vec::new(),
            bytes: Arc::clone(bytes),
            jobs: (threads > 1).then_some(jobs),
            waiting,
            done,
            ahead: AHEAD * threads as u64,
        }
    }

    /// The next block of log number `log` of `logs`.
    pub(crate) fn next(&mut self, log: usize, logs: &mut BTreeMap<usize, Reading>) -> Counted {
        let ahead = (self.ahead / logs.len().max(1) as u64).max(1);
        let Some(reading) = logs.get_mut(&log) else {
            return (Block::default(), Next::End);
        };
        let Some(jobs) = &self.jobs else {
            return read_and_count(&reading.shared, &mut self.counter, &mut self.buffer, &self.bytes).1;
        };
        while reading.asked < reading.taken + ahead {
            if jobs.send(Job { log, shared: Arc::clone(&reading.shared) }).is_err() {
                return gone();
            }
            reading.asked += 1;
        }
        let number = reading.taken;
        reading.taken += 1;
        loop {
            if let Some(counted) = logs.get_mut(&log).and_then(|reading| reading.ready.remove(&number)) {
                return counted;
            }
            let Some(done) = self.done() else { return gone() };
            if let Some(reading) = logs.get_mut(&done.log) {
                reading.ready.insert(done.number, done.counted);
            }
        }
    }

    /// A counted block: one of another thread, or one that nobody has begun.
    fn done(&mut self) -> Option<Done> {
        if let Ok(done) = self.done.try_recv() {
            return Some(done);
        }
        // Where it is locked a thread waits for a job, so that there is none.
        let job = self.waiting.try_lock().ok().and_then(|waiting| waiting.try_recv().ok());
        let Some(Job { log, shared }) = job else { return self.done.recv().ok() };
        let (number, counted) = read_and_count(&shared, &mut self.counter, &mut self.buffer, &self.bytes);
        Some(Done { log, number, counted })
    }
}

fn gone() -> Counted {
    (Block::default(), Next::Broken(io::Error::other("the counting threads are gone")))
}

fn work(waiting: &Waiting, finished: &Sender<Done>, counter: &mut Counter, bytes: &AtomicU64) {
    let mut buffer = Vec::new();
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { log, shared }) = job else { return };
        let (number, counted) = read_and_count(&shared, counter, &mut buffer, bytes);
        if finished.send(Done { log, number, counted }).is_err() {
            return;
        }
    }
}

fn read_and_count(
    shared: &Mutex<Log>,
    counter: &mut Counter,
    buffer: &mut Vec<u8>,
    bytes: &AtomicU64,
) -> (u64, Counted) {
    let place = shared.lock().unwrap_or_else(PoisonError::into_inner).next_block(buffer);
    let place = place.read(buffer);
    let mut block = Block::default();
    counter.count(buffer, Timestamp::MIN, &mut block);
    block.counters.read_bytes += place.dropped;
    bytes.fetch_add(block.counters.read_bytes, Ordering::Relaxed);
    (place.number, (block, place.next))
}
