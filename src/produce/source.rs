//! The thread that reads: polls the files, hands over what they grew by, and learns what is durable. Sends nothing.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    sync::{Arc, mpsc::Receiver},
    time::Duration,
};

use tokio::{sync::mpsc::Sender, task::JoinSet};

use crate::{
    blocking,
    clock::{Clock, Steady},
    engine::time::Timestamp,
    produce::{
        Limits, ProduceError, READ_BYTES, Read,
        records::{Noted, Records},
        shape::{AgentShape, Shape},
    },
    stop::{Phase, Stop},
    tail::{self, Lines, Notice, Polled, Progress, SEARCH_MS, State, Tailer, Waker},
};

/// How long a quiet thread sleeps at most.
const IDLE: Duration = Duration::from_secs(1);

/// How long files that are not read to their end yet, though nobody writes them, are waited for at the end: a lost one
/// is looked for that long, and then its loss is told.
const SETTLE_MS: i64 = SEARCH_MS + 5_000;

/// What to read.
#[derive(Clone, Debug)]
pub enum Input {
    /// Files, as they grow.
    Files(tail::Settings),
    /// Files, as they grow, record by record as the Amazon Kinesis Agent sends them.
    Agent(tail::Settings, Arc<AgentShape>),
    /// Standard input, to its end.
    Stdin,
}

impl Input {
    /// What becomes a record of it.
    pub(crate) fn shape(&self, limits: Limits) -> Shape {
        match self {
            Self::Files(_) | Self::Stdin => Shape::Lines(limits),
            Self::Agent(_, shape) => {
                // Without randomness keys still spread; only two processes may then use the same ones.
                Shape::Agent { shape: Arc::clone(shape), random: getrandom::u64().unwrap_or_default() }
            }
        }
    }
}

/// What connects the thread with the task that sends.
pub(crate) struct Wires {
    pub(crate) sender: Sender<Read>,
    pub(crate) acknowledged: Receiver<(u64, u64)>,
    pub(crate) stop: Stop,
    pub(crate) clock: Clock,
    /// How long lines are gathered, and how many bytes.
    pub(crate) limits: Limits,
}

/// What is being read.
pub(crate) enum Source {
    Files(Box<Tailer>, Option<Box<Records>>),
    Stdin(Box<Lines<File>>, Option<State>),
}

impl Source {
    /// Takes up where `known` left it.
    pub(crate) fn open(input: &Input, known: &[State], clock: &Clock) -> Result<Self, ProduceError> {
        match input {
            Input::Files(settings) => {
                Ok(Self::Files(Box::new(Tailer::open(settings.clone(), known, clock.now())?), None))
            }
            Input::Agent(settings, shape) => {
                let tailer = Tailer::open(settings.clone(), known, clock.now())?;
                Ok(Self::Files(Box::new(tailer), Some(Box::new(Records::new(Arc::clone(shape))))))
            }
            Input::Stdin => {
                let (generation, state) = tail::claim_generation(known, clock.now())?;
                let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(ProduceError::Stdin)?;
                Ok(Self::Stdin(Box::new(Lines::new(File::from(stdin), generation, 0)), Some(state)))
            }
        }
    }

    /// Ends a wait for the files to grow, from another thread.
    pub(crate) fn waker(&self) -> Option<Waker> {
        match self {
            Self::Files(tailer, _) => Some(tailer.waker()),
            Self::Stdin(..) => None,
        }
    }

    /// Reads until the stop, and hands over everything.
    pub(crate) fn start(self, wires: Wires, tasks: &mut JoinSet<Result<(), ProduceError>>) {
        match self {
            Self::Files(tailer, records) if blocking::is_one_thread() => {
                tasks.spawn(Files::new(tailer, records, wires.limits).read_here(wires));
            }
            Self::Files(tailer, records) => {
                tasks.spawn_blocking(move || {
                    Files::new(tailer, records, wires.limits).read_all(&wires);
                    Ok(())
                });
            }
            Self::Stdin(lines, state) => {
                tasks.spawn_blocking(move || read_stdin(*lines, state, &wires));
            }
        }
    }
}

/// Files that are read in turns.
struct Files {
    tailer: Box<Tailer>,
    records: Option<Box<Records>>,
    /// The last look was for the end.
    draining: bool,
    /// Since when there is nothing left but to wait for what settles by itself.
    settling_since: Option<Timestamp>,
    gathering: Gathering,
    /// Files rest, linger and are looked for by how much time passes, not by what a clock is set to.
    time: Steady,
}

/// What to do behind a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Read on.
    Read,
    /// Wait until there may be more.
    Wait,
    /// There will be no more.
    End,
}

impl Files {
    fn new(tailer: Box<Tailer>, records: Option<Box<Records>>, limits: Limits) -> Self {
        let gathering = Gathering::new(limits);
        Self { tailer, records, draining: false, settling_since: None, gathering, time: Steady::default() }
    }

    fn read_all(mut self, wires: &Wires) {
        while wires.stop.phase() < Phase::Stop {
            let (read, next) = self.turn(wires);
            self.gathering.note(read.pieces.iter().map(|piece| piece.data.len()).sum());
            if !read.is_empty() && wires.sender.blocking_send(read).is_err() {
                return;
            }
            match next {
                Next::Read => {}
                Next::Wait => {
                    if self.tailer.wait(IDLE) {
                        // Lines come in bursts: what gathers now travels in one record.
                        std::thread::sleep(self.gathering.pause());
                    }
                }
                Next::End => return,
            }
        }
    }

    /// As [`Self::read_all`], where there is no thread to wait in: then time wakes it, or the stop.
    async fn read_here(mut self, mut wires: Wires) -> Result<(), ProduceError> {
        while wires.stop.phase() < Phase::Stop {
            let (read, next) = self.turn(&wires);
            if !read.is_empty() && wires.sender.send(read).await.is_err() {
                break;
            }
            match next {
                Next::Read => {}
                Next::Wait => {
                    let rest = self.tailer.refresh().max(self.gathering.longest);
                    // An error says that the time is over.
                    let phase = if self.draining { Phase::Stop } else { Phase::Drain };
                    let _ = tokio::time::timeout(rest, wires.stop.reached(phase)).await;
                }
                Next::End => break,
            }
        }
        Ok(())
    }

    /// Whether to wait for files that are not read to their end yet, though nobody writes them.
    fn is_settling(&mut self, now: Timestamp) -> bool {
        let since = *self.settling_since.get_or_insert(now);
        self.tailer.is_settling() && (0..SETTLE_MS).contains(&now.millis_since(since))
    }

    /// What is there now, up to [`READ_BYTES`].
    fn turn(&mut self, wires: &Wires) -> (Read, Next) {
        for (generation, end) in wires.acknowledged.try_iter() {
            self.tailer.acknowledge(generation, end);
        }
        let draining = wires.stop.phase() == Phase::Drain;
        if draining && !std::mem::replace(&mut self.draining, true) {
            // What was written since the last look is to be sent, too.
            self.tailer.look_again();
        }
        let now = self.time.at(wires.clock.now());
        let Polled { mut pieces, born, caught_up, notices } = self.tailer.poll(now, READ_BYTES);
        notices.iter().for_each(log);
        let quiet = pieces.is_empty();
        let states = match &mut self.records {
            None => self.tailer.states(),
            Some(records) => {
                pieces = records.of(pieces, now);
                if caught_up {
                    pieces.append(&mut records.quiet(now, draining && quiet));
                }
                for (generation, end) in records.passed_over() {
                    self.tailer.pass_over(generation, end);
                }
                note(records.noted());
                self.tailer.states_behind(&records.held())
            }
        };
        let next = match (caught_up, draining) {
            (true, true) if quiet && self.is_settling(now) => Next::Wait,
            (true, true) if quiet => Next::End,
            (true, false) => Next::Wait,
            _ => Next::Read,
        };
        (Read { pieces, born, states }, next)
    }
}

fn read_stdin(mut lines: Lines<File>, mut state: Option<State>, wires: &Wires) -> Result<(), ProduceError> {
    while wires.stop.phase() < Phase::Stop {
        // Nobody resumes standard input, so nobody needs to know what is durable.
        wires.acknowledged.try_iter().for_each(drop);
        let mut pieces = Vec::new();
        let progress = lines.read(&mut pieces).map_err(ProduceError::Stdin)?;
        let read = Read { pieces, born: state.take().into_iter().collect(), states: Vec::new() };
        if !read.is_empty() && wires.sender.blocking_send(read).is_err() {
            break;
        }
        if progress == Progress::End {
            break;
        }
    }
    Ok(())
}

fn note(Noted { cut, left }: Noted) {
    if cut > 0 {
        tracing::warn!("{cut} records are too long and were cut");
    }
    if left > 0 {
        tracing::debug!("{left} records could not be processed and are sent as they are");
    }
}

fn log(notice: &Notice) {
    if notice.is_warning() {
        tracing::warn!("{notice}");
    } else {
        tracing::info!("{notice}");
    }
}

/// How long lines are gathered: until a record is full, by what came in the pause before, and no longer than they may wait.
#[derive(Debug)]
struct Gathering {
    longest: Duration,
    bytes: usize,
    pause: Duration,
    /// Bytes read since the last pause.
    read: usize,
}

/// The shortest pause: where it is not enough, a turn reads more than one record.
const SHORTEST: Duration = Duration::from_millis(5);

impl Gathering {
    fn new(limits: Limits) -> Self {
        let longest = Duration::from_millis(limits.age_ms);
        Self { longest, bytes: limits.bytes, pause: longest, read: 0 }
    }

    fn note(&mut self, bytes: usize) {
        self.read += bytes;
    }

    fn pause(&mut self) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a share of a pause")]
        let share = self.bytes as f64 / std::mem::take(&mut self.read).max(1) as f64;
        // What is longer than any pause does not fit a duration.
        let pause = Duration::try_from_secs_f64(self.pause.max(SHORTEST).as_secs_f64() * share);
        self.pause = pause.unwrap_or(self.longest).max(SHORTEST).min(self.longest);
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_gathered_until_a_record_is_full() {
        let mut gathering = Gathering::new(Limits { bytes: 1_000, lines: 10, age_ms: 200 });
        let mut pause = |bytes| {
            gathering.note(bytes);
            gathering.pause().as_millis()
        };
        assert_eq!(pause(0), 200);
        assert_eq!(pause(500), 200, "no longer than they may wait");
        assert_eq!(pause(4_000), 50);
        assert_eq!(pause(1_000), 50);
        assert_eq!(pause(1_000_000), 5, "no pause is shorter");
        assert_eq!(pause(500), 10);
        assert_eq!(pause(0), 200);
        assert_eq!(Gathering::new(Limits { bytes: 1, lines: 1, age_ms: 1 }).pause().as_millis(), 1);
    }
}
