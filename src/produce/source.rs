//! The thread that reads: polls the files, hands over what they grew by, and learns what is durable. Sends nothing.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    sync::{Arc, mpsc::Receiver},
    time::Duration,
};

use tokio::sync::mpsc::Sender;

use crate::{
    clock::Clock,
    produce::{
        ProduceError, READ_BYTES, Read,
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
    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::Files(_) | Self::Stdin => Shape::Lines,
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
    /// How long lines are gathered.
    pub(crate) age: Duration,
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
    pub(crate) fn read_all(self, wires: &Wires) -> Result<(), ProduceError> {
        match self {
            Self::Files(tailer, records) => {
                read_files(*tailer, records, wires);
                Ok(())
            }
            Self::Stdin(lines, state) => read_stdin(*lines, state, wires),
        }
    }
}

fn read_files(mut tailer: Tailer, mut records: Option<Box<Records>>, wires: &Wires) {
    let mut settling_since = None;
    while wires.stop.phase() < Phase::Stop {
        for (generation, end) in wires.acknowledged.try_iter() {
            tailer.acknowledge(generation, end);
        }
        let draining = wires.stop.phase() == Phase::Drain;
        let now = wires.clock.now();
        let Polled { mut pieces, born, caught_up, notices } = tailer.poll(now, READ_BYTES);
        notices.iter().for_each(log);
        let quiet = pieces.is_empty();
        let states = match &mut records {
            None => tailer.states(),
            Some(records) => {
                pieces = records.of(pieces, now);
                if caught_up {
                    pieces.append(&mut records.quiet(now, draining && quiet));
                }
                note(records.noted());
                tailer.states_behind(&records.held())
            }
        };
        let read = Read { pieces, born, states };
        if !read.is_empty() && wires.sender.blocking_send(read).is_err() {
            return;
        }
        if caught_up && draining && quiet {
            let since = *settling_since.get_or_insert(now);
            if !tailer.is_settling() || !(0..SETTLE_MS).contains(&now.millis_since(since)) {
                return;
            }
            tailer.wait(IDLE);
        }
        if caught_up && !draining {
            tailer.wait(IDLE);
            // Lines come in bursts: what gathers now travels in one record.
            std::thread::sleep(wires.age);
        }
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
