//! The stamps of the file's transactions, whatever becomes of the clock: they never go backwards, and where it was set
//! that is said and nobody pays for it at once. Waits for nothing.

use crate::{clock::Clock, engine::time::Timestamp};

/// What the clock may go on by between two looks: the thread that writes sleeps for a minute at most.
const JUMP_MS: i64 = 2 * 60_000;
/// How long what is past retention by a jump alone is kept for its consumer.
const GRACE_MS: i64 = 10 * 60_000;
/// How far the clock may fall behind the latest stamp at once before that is said.
const BEHIND_MS: i64 = 10_000;

/// What the thread that writes knows of the time.
pub(super) struct Stamps {
    clock: Clock,
    grace_ms: i64,
    /// The latest stamp of any transaction.
    latest: Timestamp,
    /// What the clock showed when it was looked at last.
    looked: Option<Timestamp>,
    /// What it showed at the first look, or after its last jump.
    began: Timestamp,
    /// What it was behind the latest stamp by.
    behind_ms: i64,
}

impl Stamps {
    /// Records are kept for `retention_ms`.
    pub(super) fn new(clock: Clock, retention_ms: i64) -> Self {
        let (latest, began) = (Timestamp::MIN, Timestamp::MIN);
        Self { clock, grace_ms: GRACE_MS.min(retention_ms), latest, looked: None, began, behind_ms: 0 }
    }

    /// What the clock shows.
    pub(super) fn look(&mut self) -> Timestamp {
        let now = self.clock.now();
        let passed_ms = self.looked.replace(now).map(|before| now.millis_since(before));
        if let Some(passed_ms) = passed_ms.filter(|&passed| passed > JUMP_MS) {
            tracing::warn!(
                "the clock went on by {} s at once: it was set, or the machine slept; what is unread past retention is \
                 kept for {} s more",
                passed_ms / 1_000,
                self.grace_ms / 1_000,
            );
        }
        if passed_ms.is_none_or(|passed| passed > JUMP_MS) {
            self.began = now;
        }
        now
    }

    /// The stamp of the next transaction: the clock's, but never before an earlier one's, the last of which is `stored`.
    pub(super) fn next(&mut self, stored: Timestamp) -> Timestamp {
        let now = self.look();
        self.latest = self.latest.max(stored).max(now);
        let behind_ms = self.latest.millis_since(now);
        let before_ms = std::mem::replace(&mut self.behind_ms, behind_ms);
        if behind_ms - before_ms >= BEHIND_MS {
            tracing::warn!(
                "the clock was set back: it is {} s behind what the state holds, which goes on at {} until the clock is \
                 there again; lines of earlier windows are published as corrections, and nothing is lost",
                behind_ms / 1_000,
                self.latest,
            );
        } else if behind_ms < BEHIND_MS && before_ms >= BEHIND_MS {
            tracing::info!("the clock is again where it was before it was set back");
        }
        self.latest
    }

    /// Whether consumers had no time yet to read what the clock calls old: it was set, or nobody was there to read.
    pub(super) fn was_set(&self) -> bool {
        let since_ms = self.looked.map_or(0, |now| now.millis_since(self.began));
        (0..self.grace_ms).contains(&since_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    };

    use super::*;

    /// A clock that shows what it is told, and the stamps by it.
    fn stamps(retention_ms: i64) -> (Stamps, impl Fn(i64)) {
        let shown = Arc::new(AtomicI64::new(1_000_000_000));
        let showing = Arc::clone(&shown);
        let clock = Clock::from_fn(move || Timestamp::from_millis(showing.load(Ordering::SeqCst)));
        let pass = move |millis| {
            shown.fetch_add(millis, Ordering::SeqCst);
        };
        (Stamps::new(clock, retention_ms), pass)
    }

    #[test]
    fn stamps_never_go_back_and_go_on_where_the_clock_does() {
        let (mut stamps, pass) = stamps(86_400_000);
        let stored = Timestamp::from_millis(1_000_000_007);
        assert_eq!(stamps.next(Timestamp::MIN).as_millis(), 1_000_000_000);
        assert_eq!(stamps.next(stored), stored, "another process was ahead");
        pass(-3_600_000);
        assert_eq!(stamps.next(Timestamp::MIN), stored);
        assert_eq!(stamps.behind_ms, 3_600_007);
        pass(3_600_000);
        assert_eq!((stamps.next(stored), stamps.behind_ms), (stored, 7));
        pass(8);
        assert_eq!(stamps.next(stored).as_millis(), 1_000_000_008);
    }

    #[test]
    fn consumers_have_time_after_the_start_and_after_a_jump_and_none_as_time_passes() {
        let (mut stamps, pass) = stamps(86_400_000);
        let mut after = |millis| {
            pass(millis);
            stamps.look();
            stamps.was_set()
        };
        assert!(after(0), "just started");
        for _ in 0..9 {
            assert!(after(60_000));
        }
        assert!(!after(60_000), "ten minutes are over");
        assert!(!after(JUMP_MS));
        assert!(after(JUMP_MS + 1));
        assert!(!after(-86_400_000), "what is old is known");
        assert!(after(86_400_000));
    }

    #[test]
    fn no_consumer_has_longer_than_records_are_kept() {
        let (mut stamps, pass) = stamps(5_000);
        stamps.look();
        pass(4_999);
        stamps.look();
        assert!(stamps.was_set());
        pass(1);
        stamps.look();
        assert!(!stamps.was_set());
    }
}
