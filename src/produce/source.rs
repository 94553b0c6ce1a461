//! The thread that reads: polls the files, hands over what they grew by, and learns what is durable. Sends nothing.

use std::{fs::File, io, os::fd::AsFd, sync::mpsc::Receiver, time::Duration};

use tokio::sync::mpsc::Sender;

use crate::{
    clock::Clock,
    produce::{ProduceError, READ_BYTES, Read},
    stop::{Phase, Stop},
    tail::{self, Lines, Notice, Polled, Progress, State, Tailer, Waker},
};

/// How long a quiet thread sleeps at most.
const IDLE: Duration = Duration::from_secs(1);

/// What to read.
#[derive(Clone, Debug)]
pub enum Input {
    /// Files, as they grow.
    Files(tail::Settings),
    /// Standard input, to its end.
    Stdin,
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
    Files(Box<Tailer>),
    Stdin(Box<Lines<File>>, Option<State>),
}

impl Source {
    /// Takes up where `known` left it.
    pub(crate) fn open(input: &Input, known: &[State], clock: &Clock) -> Result<Self, ProduceError> {
        match input {
            Input::Files(settings) => {
                Ok(Self::Files(Box::new(Tailer::open(settings.clone(), known, clock.now())?)))
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
            Self::Files(tailer) => Some(tailer.waker()),
            Self::Stdin(..) => None,
        }
    }

    /// Reads until the stop, and hands over everything.
    pub(crate) fn read_all(self, wires: &Wires) -> Result<(), ProduceError> {
        match self {
            Self::Files(tailer) => {
                read_files(*tailer, wires);
                Ok(())
            }
            Self::Stdin(lines, state) => read_stdin(*lines, state, wires),
        }
    }
}

fn read_files(mut tailer: Tailer, wires: &Wires) {
    while wires.stop.phase() < Phase::Stop {
        for (generation, end) in wires.acknowledged.try_iter() {
            tailer.acknowledge(generation, end);
        }
        let draining = wires.stop.phase() == Phase::Drain;
        let Polled { pieces, born, caught_up, notices } = tailer.poll(wires.clock.now(), READ_BYTES);
        notices.iter().for_each(log);
        let quiet = pieces.is_empty();
        let read = Read { pieces, born, states: tailer.states() };
        if !read.is_empty() && wires.sender.blocking_send(read).is_err() {
            return;
        }
        if caught_up && draining && quiet {
            return;
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

fn log(notice: &Notice) {
    if notice.is_warning() {
        tracing::warn!("{notice}");
    } else {
        tracing::info!("{notice}");
    }
}
