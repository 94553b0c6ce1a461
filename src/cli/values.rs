//! Values of flags, read from text. Reads no clock.

use std::{str::FromStr, time::Duration};

use crate::{
    config::units,
    engine::time::{Timestamp, WindowSize},
};

/// A point in time as a user gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long before now.
    Ago(Duration),
    /// Exactly then.
    At(Timestamp),
}

impl Moment {
    /// The time meant, if it is `now`.
    #[must_use]
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => {
                now.plus_millis(i64::try_from(ago.as_millis()).map_or(i64::MIN, |millis| -millis))
            }
            Self::At(time) => time,
        }
    }
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ago) = units::duration(text) {
            return Ok(Self::Ago(ago));
        }
        let refused = "write how long ago (\"90m\", \"7d\") or a time (\"2026-11-21T04:35:00Z\")";
        Timestamp::parse_rfc3339(text).map(Self::At).map_err(|_| refused)
    }
}

pub(super) fn window(text: &str) -> Result<WindowSize, String> {
    let duration = units::duration(text).map_err(|error| error.to_string())?;
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    WindowSize::from_millis(millis).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        let now = Timestamp::from_millis(1_795_236_900_000);
        let resolve = |text: &str| text.parse::<Moment>().map(|moment| moment.resolve(now).to_string());
        assert_eq!(resolve("1h").as_deref(), Ok("2026-11-21T03:55:00Z"));
        assert_eq!(resolve("2026-01-01T00:00:00+01:00").as_deref(), Ok("2025-12-31T23:00:00Z"));
        assert!(resolve("yesterday").is_err());
        assert!(resolve("5").is_err());
        assert_eq!(Moment::Ago(Duration::MAX).resolve(now), now.plus_millis(i64::MIN));
    }

    #[test]
    fn a_window_has_its_bounds() {
        assert_eq!(window("5m"), Ok(WindowSize::FIVE_MINUTES));
        assert!(window("2d").unwrap_err().contains("24 h"));
    }
}
