//! Files to input stream: packed lines with their provenance, or records as the Amazon Kinesis Agent sends them
//! ([`shape`]). Counts no line.
//!
//! One thread tails the files; this task appends what it reads, with the files' positions, and tells the thread what
//! is durable. Every record carries its provenance, so what is sent twice after a crash is recognised.

mod record;
mod records;
pub mod shape;
mod source;

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    task::JoinSet,
    time::MissedTickBehavior,
};

use crate::{
    backend::{Append, Backend, BackendError, Stage, StreamWriter, retry::Retry},
    clock::Clock,
    engine::{producers::ALIVE_EVERY_MS, provenance::Node},
    stop::{Phase, Stop},
    tail,
};

use shape::Shape;
pub use source::Input;

/// How many reads may wait for the stream: with [`READ_BYTES`] this bounds the memory of a producer.
const READS_IN_FLIGHT: usize = 2;
/// How many bytes one read takes from all files together.
pub(crate) const READ_BYTES: usize = 2 * 1024 * 1024;

/// What to produce, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which files, and from where.
    pub input: Input,
    /// When lines are sent.
    pub limits: Limits,
    /// The time of day.
    pub clock: Clock,
}

/// When a record is sent: as soon as one of these is reached.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of lines; a longer line is a record of its own. At most one chunk of 512 KiB is read at once.
    pub bytes: usize,
    /// Lines.
    pub lines: usize,
    /// How long lines are gathered, in milliseconds.
    pub age_ms: u64,
}

/// Why `produce` ended.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The port failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The files cannot be watched.
    #[error(transparent)]
    Tail(#[from] tail::TailError),
    /// Standard input cannot be read.
    #[error("cannot read standard input: {0}")]
    Stdin(#[source] std::io::Error),
}

/// What the thread that reads hands over.
pub(crate) struct Read {
    pub(crate) pieces: Vec<tail::Piece>,
    /// States of files that are new: stored before their first piece is sent.
    pub(crate) born: Vec<tail::State>,
    /// States as of the end of the pieces: stored with them.
    pub(crate) states: Vec<tail::State>,
}

impl Read {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.born.is_empty() && self.states.is_empty()
    }
}

/// Sends what the files hold and what they grow by until `stop`: on [`Drain`](Phase::Drain) to their ends, on
/// [`Stop`](Phase::Stop) at once. Says hello once a minute, and goodbye at the end.
///
/// # Errors
/// [`ProduceError`]; what was acknowledged stays so, and the rest is sent after the next start.
pub async fn run<B: Backend>(backend: &B, settings: Settings, stop: Stop) -> Result<(), ProduceError> {
    let _lock = backend.checkpoints(Stage::Produce).await?;
    let mut writer = backend.writer(crate::backend::Stream::Input).await?;
    let known: Vec<tail::State> =
        writer.sources().await?.into_iter().map(|source| (source.generation, source.state)).collect();
    let (sender, reads) = mpsc::channel(READS_IN_FLIGHT);
    let (durable, acknowledged) = std::sync::mpsc::channel();
    let Settings { input, limits, clock } = settings;
    let source = source::Source::open(&input, &known, &clock)?;
    let shape = input.shape(limits);
    let mut tasks = JoinSet::new();
    if let Some(waker) = source.waker() {
        let mut stopping = stop.clone();
        tasks.spawn(async move {
            stopping.reached(Phase::Drain).await;
            waker.wake();
            Ok(())
        });
    }
    let wires = source::Wires { sender, acknowledged, stop: stop.clone(), clock, limits };
    source.start(wires, &mut tasks);
    let mut sending = Sending {
        node: writer.node(),
        writer,
        acked: BTreeMap::new(),
        durable,
        shape,
        read_bytes: 0,
        sent_bytes: 0,
        stop: stop.clone(),
    };
    match sending.run(reads, stop).await {
        Err(BackendError::Stopped { why }) => {
            tracing::warn!("{why}; the next start goes on from there");
        }
        ended => ended?,
    }
    // What is left is the thread, which may still wait for standard input, and its waker.
    while let Some(ended) = tasks.try_join_next() {
        ended.map_err(|why| BackendError::failed("the thread that reads files ended", why))??;
    }
    Ok(())
}

struct Sending<W> {
    node: Node,
    writer: W,
    /// By generation: what was acknowledged, and stored, when the next record is made.
    acked: BTreeMap<u64, u64>,
    durable: std::sync::mpsc::Sender<(u64, u64)>,
    shape: Shape,
    read_bytes: u64,
    sent_bytes: u64,
    stop: Stop,
}

impl<W: StreamWriter> Sending<W> {
    async fn run(&mut self, mut reads: mpsc::Receiver<Read>, mut stop: Stop) -> Result<(), BackendError> {
        let mut alive = tokio::time::interval(Duration::from_millis(ALIVE_EVERY_MS.unsigned_abs()));
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut packed = None;
        loop {
            let next = tokio::select! {
                biased;
                () = stop.reached(Phase::Stop) => break,
                // Before the reads: in a long backlog there is always one.
                _ = alive.tick() => {
                    self.say(false).await?;
                    continue;
                }
                next = next(&mut reads, packed.is_some()) => next,
            };
            match next {
                Next::Read(read) => packed = Some(self.send(packed.take(), read).await?),
                Next::Nothing => self.store(packed.take()).await?,
                Next::End => {
                    self.store(packed.take()).await?;
                    break;
                }
            }
        }
        self.say(true).await
    }

    /// Stores what is ready, and makes the next read ready meanwhile.
    async fn send(
        &mut self,
        ready: Option<Ready<W::Packed>>,
        read: Read,
    ) -> Result<Ready<W::Packed>, BackendError> {
        let packing = self.pack(read);
        let (stored, packed) = tokio::join!(self.store(ready), packing);
        stored?;
        packed
    }

    /// The appends that a read comes to: new files before their first records, positions with the last.
    fn pack(&mut self, read: Read) -> impl Future<Output = Result<Ready<W::Packed>, BackendError>> + use<W> {
        let Read { pieces, born, states } = read;
        let ends: BTreeMap<u64, u64> = pieces.iter().map(|piece| (piece.generation, piece.end)).collect();
        let gone =
            states.iter().filter(|(_, state)| state.is_empty()).map(|(generation, _)| *generation).collect();
        let bytes: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
        self.read_bytes += bytes;
        let (acked, shape) = (&self.acked, &mut self.shape);
        let records = |piece: tail::Piece| {
            let acked = acked.get(&piece.generation).copied().unwrap_or_default();
            shape.records(self.node, piece, acked)
        };
        let records = pieces.into_iter().flat_map(records).collect();
        let mut appends = self.shape.appends(records);
        let last = Append { records: appends.pop().unwrap_or_default(), sources: record::sources(states) };
        let born = Append { records: Vec::new(), sources: record::sources(born) };
        let appends = appends.into_iter().map(|records| Append { records, sources: Vec::new() });
        let appends =
            std::iter::once(born).filter(|born| !born.sources.is_empty()).chain(appends).chain([last]);
        let packing: Vec<_> = appends.map(|append| self.writer.pack(append)).collect();
        async move {
            let mut packed = Vec::with_capacity(packing.len());
            for append in packing {
                packed.push(append.await?);
            }
            Ok(Ready { appends: packed, ends, gone, bytes })
        }
    }

    async fn store(&mut self, ready: Option<Ready<W::Packed>>) -> Result<(), BackendError> {
        let Some(Ready { appends, ends, gone, bytes }) = ready else { return Ok(()) };
        for append in appends {
            self.append(append).await?;
        }
        self.sent_bytes += bytes;
        for (generation, end) in ends {
            self.acked.insert(generation, end);
            // The thread may be gone already: then nobody asks what is durable.
            let _ = self.durable.send((generation, end));
        }
        for generation in gone {
            self.acked.remove(&generation);
        }
        Ok(())
    }

    async fn say(&mut self, stopped: bool) -> Result<(), BackendError> {
        if !self.shape.says_alive() {
            return Ok(());
        }
        let record = record::alive(self.node, (self.read_bytes, self.sent_bytes), stopped);
        let packed = self.writer.pack(Append { records: vec![record], sources: Vec::new() }).await?;
        self.append(packed).await
    }

    async fn append(&mut self, packed: W::Packed) -> Result<(), BackendError> {
        let mut retry = Retry::new("appending to the input stream", &self.stop);
        while retry.attempt(self.writer.store(packed.clone())).await?.is_none() {}
        Ok(())
    }
}

/// What a read came to, ready to be stored.
struct Ready<P> {
    appends: Vec<P>,
    /// By generation: how far its file is read.
    ends: BTreeMap<u64, u64>,
    /// Generations that are forgotten.
    gone: Vec<u64>,
    bytes: u64,
}

/// What is to be done next.
enum Next {
    Read(Read),
    /// Nothing was read meanwhile.
    Nothing,
    /// Nothing more will be read.
    End,
}

/// The next read; does not wait for it while something is ready.
async fn next(reads: &mut mpsc::Receiver<Read>, is_ready: bool) -> Next {
    if !is_ready {
        return reads.recv().await.map_or(Next::End, Next::Read);
    }
    match reads.try_recv() {
        Ok(read) => Next::Read(read),
        Err(TryRecvError::Empty) => Next::Nothing,
        Err(TryRecvError::Disconnected) => Next::End,
    }
}

#[cfg(test)]
mod tests;
