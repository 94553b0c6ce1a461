//! Patience with a busy port: waits with full jitter and says what for. Gives up on nothing that can succeed, except
//! where its stage was told to stop.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

use crate::{
    backend::{Backend, BackendError, Batch, Result, ShardId, StartAt, Stream, StreamReader},
    engine::backoff::Backoff,
    random,
    stop::{Phase, Stop},
};

/// First and longest pause, in milliseconds.
const PAUSES: Backoff = Backoff { base_ms: 100, max_ms: 10_000 };
/// After the first, every so many-th attempt is logged.
pub(super) const LOG_EVERY: u32 = 10;
/// How long a call may still take when its stage is told to stop: a stream that is full may stay so for ever.
const GRACE: Duration = Duration::from_secs(5);

/// The attempts at one call.
#[derive(Debug)]
pub struct Retry {
    what: &'static str,
    attempt: u32,
    stop: Stop,
    /// When the grace ends; known once the stop is seen.
    deadline: Option<Instant>,
}

impl Retry {
    /// `what` names the call in the log: "saving a checkpoint".
    #[must_use]
    pub fn new(what: &'static str, stop: &Stop) -> Self {
        Self { what, attempt: 0, stop: stop.clone(), deadline: None }
    }

    /// Makes the call until the port is not busy. A port that is borrowed mutably no closure can lend: there
    /// [`attempt`](Self::attempt) is repeated.
    ///
    /// # Errors
    /// As [`attempt`](Self::attempt).
    pub async fn until_done<T, C: Future<Output = Result<T>>>(
        mut self,
        mut call: impl FnMut() -> C,
    ) -> Result<T> {
        loop {
            if let Some(value) = self.attempt(call()).await? {
                return Ok(value);
            }
        }
    }

    /// Makes the call once; `None` after the pause that follows a call which found the port busy.
    ///
    /// # Errors
    /// What the call fails with for good; [`BackendError::Stopped`] when it has taken 5 s since the stop.
    pub async fn attempt<T>(&mut self, call: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        let (mut stop, known, what) = (self.stop.clone(), self.deadline, self.what);
        let mut deadline = None;
        let grace = async {
            stop.reached(Phase::Stop).await;
            let end = *deadline.insert(known.unwrap_or_else(|| Instant::now() + GRACE));
            tokio::time::sleep_until(end).await;
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.call_and_pause(call) => outcome,
            () = grace => Err(BackendError::Stopped { why: format!("stopped while {what}") }),
        };
        self.deadline = known.or(deadline);
        outcome
    }

    async fn call_and_pause<T>(&mut self, call: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        match call.await {
            Ok(value) => Ok(Some(value)),
            Err(BackendError::Busy { why }) => {
                if self.attempt.is_multiple_of(LOG_EVERY) {
                    tracing::warn!(attempt = self.attempt + 1, "{}: {why}; trying again", self.what);
                }
                tokio::time::sleep(self.delay()).await;
                self.attempt += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn delay(&self) -> Duration {
        PAUSES.delay(self.attempt, random::u64().unwrap_or(u64::MAX / 2))
    }
}

/// Opens a shard for reading, however long a busy port takes.
///
/// # Errors
/// What the port fails with for good; [`BackendError::Stopped`] when that takes too long after the stop.
pub async fn reader<B: Backend>(
    backend: &B,
    (stream, shard): (Stream, &ShardId),
    start: StartAt,
    stop: &Stop,
) -> Result<B::Reader> {
    Retry::new("opening a shard", stop).until_done(|| backend.reader(stream, shard, start.clone())).await
}

/// The next batch, however long a busy port takes, and whether the stage was to drain before it was asked for; `None`
/// at [`Phase::Stop`].
///
/// # Errors
/// What the port fails with for good.
pub async fn next_batch<R: StreamReader>(
    reader: &mut R,
    stop: &mut Stop,
    what: &'static str,
) -> Result<Option<(Batch, bool)>> {
    let mut retry = Retry::new(what, stop);
    loop {
        let draining = stop.phase() == Phase::Drain;
        if draining {
            reader.drain();
        }
        let (mut stopping, mut draining_now) = (stop.clone(), stop.clone());
        let read = tokio::select! {
            biased;
            () = stopping.reached(Phase::Stop) => return Ok(None),
            () = draining_now.reached(Phase::Drain), if !draining => continue,
            read = retry.attempt(reader.next_batch()) => read?,
        };
        if let Some(batch) = read {
            let drained = draining && batch.records.is_empty() && batch.behind_ms == 0;
            return Ok(Some((batch, drained)));
        }
    }
}
