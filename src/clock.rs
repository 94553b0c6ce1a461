//! The only place that asks the time. Everything else takes it as an argument.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use crate::engine::time::Timestamp;

/// A source of the time of day: the system's, or a test's.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(system_now))
    }

    /// A clock that answers what `now` answers, for tests and simulations.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// What a clock shows, without what it was set by meanwhile: for how long something lasts.
#[derive(Debug, Default)]
pub struct Steady(Option<Shown>);

#[derive(Debug)]
struct Shown {
    steady: Timestamp,
    by_clock: Timestamp,
    at: Instant,
}

/// What a clock may go on by, beyond the time that passed, before it was set, in milliseconds.
const SLACK_MS: i64 = 1_000;

impl Steady {
    /// The steady time where the clock shows `now`; the same at first.
    pub fn at(&mut self, now: Timestamp) -> Timestamp {
        let steady = self.0.as_ref().map_or(now, |before| {
            let passed_ms = i64::try_from(before.at.elapsed().as_millis()).unwrap_or(i64::MAX);
            let by_clock_ms = now.millis_since(before.by_clock);
            let is_possible = (0..=passed_ms.saturating_add(SLACK_MS)).contains(&by_clock_ms);
            before.steady.plus_millis(if is_possible { by_clock_ms } else { passed_ms })
        });
        self.0 = Some(Shown { steady, by_clock: now, at: Instant::now() });
        steady
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one home of the clock")]
fn system_now() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    };
    Timestamp::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_steady_time_goes_on_as_time_passes_whatever_the_clock_is_set_to() {
        let mut steady = Steady::default();
        let mut at = |millis| steady.at(Timestamp::from_millis(millis)).as_millis();
        assert_eq!(at(5_000_000), 5_000_000);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(at(5_002_000), 5_002_000);
        assert_eq!(at(8_602_000), 5_002_000, "set forward by an hour");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(at(8_604_000), 5_004_000);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(at(1_000), 5_006_000, "and back before everything");
        assert_eq!(at(1_900), 5_006_900, "a clock that is slewed is followed");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(at(1_900), 5_006_900, "also where it stands");
    }
}
