//! How long to wait before the next attempt. Draws no random number and never sleeps: both are the caller's.

use std::time::Duration;

/// Exponential backoff with full jitter: the ceiling doubles from [`Self::base_ms`] to [`Self::max_ms`], and the
/// delay is drawn evenly from zero to the ceiling, so that clients that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling before the first retry, in milliseconds.
    pub base_ms: u64,
    /// The highest ceiling, in milliseconds.
    pub max_ms: u64,
}

impl Backoff {
    /// The delay before retry number `attempt`, counted from 0; `random` is any 64 bits, evenly distributed.
    ///
    /// ```
    /// use logtally::engine::backoff::Backoff;
    /// let backoff = Backoff { base_ms: 100, max_ms: 10_000 };
    /// assert_eq!(backoff.delay(2, u64::MAX).as_millis(), 400);
    /// assert_eq!(backoff.delay(2, 0).as_millis(), 0);
    /// ```
    #[must_use]
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        // The upper 64 bits of the product are `random` scaled to `0..=ceiling` without a bias worth naming.
        let scaled = (u128::from(random) * (u128::from(self.ceiling_ms(attempt)) + 1)) >> 64;
        Duration::from_millis(u64::try_from(scaled).unwrap_or(self.max_ms))
    }

    fn ceiling_ms(&self, attempt: u32) -> u64 {
        let factor = 1_u64.checked_shl(attempt).unwrap_or(u64::MAX);
        self.base_ms.saturating_mul(factor).min(self.max_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { base_ms: 100, max_ms: 10_000 };

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let ceilings: Vec<u128> =
            (0..9).map(|attempt| BACKOFF.delay(attempt, u64::MAX).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    }

    #[test]
    fn extremes_saturate() {
        for attempt in [63, 64, 65, u32::MAX] {
            assert_eq!(BACKOFF.delay(attempt, u64::MAX).as_millis(), 10_000);
        }
        let widest = Backoff { base_ms: u64::MAX, max_ms: u64::MAX };
        assert_eq!(widest.delay(u32::MAX, u64::MAX), Duration::from_millis(u64::MAX));
        let never = Backoff { base_ms: 0, max_ms: 0 };
        assert_eq!(never.delay(7, u64::MAX), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn the_delay_is_even_in_the_random_number(attempt in 0_u32..20, random: u64) {
            let ceiling = BACKOFF.delay(attempt, u64::MAX).as_millis();
            let delay = BACKOFF.delay(attempt, random).as_millis();
            prop_assert!(delay <= ceiling);
            // The share of the ceiling is the share of the 64 bits, to one millisecond.
            let share = (u128::from(random) * ceiling) >> 64;
            prop_assert!(delay.abs_diff(share) <= 1);
        }
    }
}
