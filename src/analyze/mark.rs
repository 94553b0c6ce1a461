//! How far a shard is complete, and since when. Moves nothing.

use tokio::time::Instant;

use crate::engine::time::Timestamp;

/// How far a shard is complete, and since when.
pub(super) struct Mark {
    at: Timestamp,
    since: Instant,
}

impl Mark {
    /// There since now.
    pub(super) fn new(at: Timestamp) -> Self {
        Self { at, since: Instant::now() }
    }

    /// Whether it has stood still at `at` for so long, in milliseconds, since it moved or this was last true. It does where a
    /// clock was set back, until that is there again: longer than corrections may wait.
    pub(super) fn stands_still(&mut self, at: Timestamp, interval_ms: i64) -> bool {
        let waited_ms = i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX);
        let stands = at <= self.at && waited_ms >= interval_ms;
        if stands || at > self.at {
            *self = Self::new(at.max(self.at));
        }
        stands
    }
}
