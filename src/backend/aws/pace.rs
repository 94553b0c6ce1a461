//! How soon a shard may be read again. Sleeps by itself never; calls nothing.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Calls a second that a shard takes (`GetRecords`).
const CALLS: usize = 5;
/// In which time.
const SECOND: Duration = Duration::from_secs(1);
/// Bytes a second that a shard gives (`GetRecords`); by it 10 MiB cost the 5 s that Kinesis then refuses calls for.
const BYTES: u32 = 2 * 1024 * 1024;

/// The calls made lately, and what they were answered with.
#[derive(Debug, Default)]
pub(super) struct Pace {
    calls: VecDeque<Instant>,
    not_before: Option<Instant>,
}

impl Pace {
    /// When the next call may be made.
    pub(super) fn due(&self, now: Instant) -> Instant {
        let oldest = self.calls.front().filter(|_| self.calls.len() == CALLS);
        let calls = oldest.map_or(now, |&oldest| oldest + SECOND);
        calls.max(self.not_before.unwrap_or(now)).max(now)
    }

    /// A call is made.
    pub(super) fn called(&mut self, now: Instant) {
        if self.calls.len() == CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back(now);
    }

    /// It gave that many bytes.
    pub(super) fn got(&mut self, now: Instant, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.pause(now, SECOND.mul_f64(f64::from(bytes) / f64::from(BYTES)));
    }

    /// The next call has to wait.
    pub(super) fn pause(&mut self, now: Instant, pause: Duration) {
        self.not_before = self.not_before.max(Some(now + pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_calls_a_second_and_two_mebibytes() {
        let began = Instant::now();
        let (mut pace, mut now, mut made) = (Pace::default(), began, Vec::new());
        for _ in 0..12 {
            now = pace.due(now);
            pace.called(now);
            made.push((now - began).as_millis());
        }
        assert_eq!(made, [0, 0, 0, 0, 0, 1_000, 1_000, 1_000, 1_000, 1_000, 2_000, 2_000]);

        let mut pace = Pace::default();
        pace.called(began);
        pace.got(began, 10 * 1024 * 1024);
        pace.pause(began, SECOND);
        assert_eq!(pace.due(began) - began, Duration::from_secs(5), "the longer pause counts");
        let later = began + Duration::from_secs(9);
        assert_eq!(pace.due(later), later);
    }
}
