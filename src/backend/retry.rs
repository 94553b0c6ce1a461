//! Patience with a busy port: waits with full jitter and says what for. Gives up on nothing that can succeed.

use std::time::Duration;

use crate::{
    backend::{BackendError, Batch, Result, StreamReader},
    engine::backoff::Backoff,
    stop::{Phase, Stop},
};

/// First and longest pause, in milliseconds.
const PAUSES: Backoff = Backoff { base_ms: 100, max_ms: 10_000 };
/// After the first, every so many-th attempt is logged.
const LOG_EVERY: u32 = 10;

/// The attempts at one call.
#[derive(Debug)]
pub struct Retry {
    what: &'static str,
    attempt: u32,
}

impl Retry {
    /// `what` names the call in the log: "saving a checkpoint".
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self { what, attempt: 0 }
    }

    /// Waits if `error` may pass.
    ///
    /// # Errors
    /// `error` itself, if it is not [`BackendError::Busy`].
    pub async fn pause(&mut self, error: BackendError) -> Result<()> {
        let BackendError::Busy { why } = error else { return Err(error) };
        if self.attempt.is_multiple_of(LOG_EVERY) {
            tracing::warn!(attempt = self.attempt + 1, "{}: {why}; trying again", self.what);
        }
        tokio::time::sleep(self.delay()).await;
        self.attempt += 1;
        Ok(())
    }

    fn delay(&self) -> Duration {
        PAUSES.delay(self.attempt, getrandom::u64().unwrap_or(u64::MAX / 2))
    }
}

/// The next batch, however long a busy port takes; `None` at [`Phase::Stop`].
///
/// # Errors
/// What the port fails with for good.
pub async fn next_batch<R: StreamReader>(
    reader: &mut R,
    stop: &mut Stop,
    what: &'static str,
) -> Result<Option<Batch>> {
    let mut retry = Retry::new(what);
    loop {
        let read = tokio::select! {
            biased;
            () = stop.reached(Phase::Stop) => return Ok(None),
            read = reader.next_batch() => read,
        };
        match read {
            Ok(batch) => return Ok(Some(batch)),
            Err(error) => retry.pause(error).await?,
        }
    }
}

/// Whether a stage that is to drain is done with this shard: the batch is empty, and at the tip.
#[must_use]
pub fn is_drained(batch: &Batch, stop: &Stop) -> bool {
    stop.phase() == Phase::Drain && batch.records.is_empty() && batch.behind_ms == 0
}
