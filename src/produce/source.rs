//! The thread that reads: polls the files, hands over what they grew by, and learns what is durable. Sends nothing.

use std::{io::Read as _, sync::mpsc::Receiver, time::Duration};

use tokio::sync::mpsc::Sender;

use crate::{
    clock::Clock,
    produce::{ProduceError, READ_BYTES, Read, Settings},
    stop::{Phase, Stop},
    tail::{self, Tailer, stdin::StdinReader, watch::Watcher},
};

/// How long a quiet thread sleeps at most; it also looks for new files then.
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

pub(crate) enum Source {
    Files(Box<Tailer>, Watcher),
    Stdin(StdinReader),
}
