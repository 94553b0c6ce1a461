//! Points in time and tumbling windows. Reads no clock: every `now` is an argument.

use std::fmt;

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, negative before it.
///
/// In JSON, CSV and other text it is RFC 3339 in UTC; in binary formats the bare number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before every other timestamp.
    pub const MIN: Self = Self(i64::MIN);
    /// After every other timestamp.
    pub const MAX: Self = Self(i64::MAX);

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This time moved by `millis` (either sign), stopping at [`Self::MIN`] and [`Self::MAX`].
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this time, negative if `earlier` is later; saturating.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Parses RFC 3339, for example `2026-11-21T04:35:00Z`.
    ///
    /// # Errors
    /// What `chrono` finds wrong with the text.
    pub fn parse_rfc3339(text: &str) -> Result<Self, chrono::ParseError> {
        DateTime::parse_from_rfc3339(text).map(|time| Self(time.timestamp_millis()))
    }
}

/// RFC 3339 in UTC, with milliseconds only where they are not zero; outside chrono's years the bare number.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(time) if self.0 % 1_000 == 0 && (0..10_000).contains(&time.year()) => {
                f.write_str(seconds(&time, &mut b"0000-00-00T00:00:00Z".to_owned()))
            }
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// Fills the digits of `text` with a year of four digits and what follows it: rows are full of these.
fn seconds<'t>(time: &DateTime<Utc>, text: &'t mut [u8; 20]) -> &'t str {
    let year = time.year().unsigned_abs();
    let numbers =
        [year / 100, year % 100, time.month(), time.day(), time.hour(), time.minute(), time.second()];
    for (at, number) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(numbers) {
        if let Some([tens, ones]) = text.get_mut(at..at + 2) {
            #[expect(clippy::cast_possible_truncation, reason = "a number of two digits")]
            let number = number as u8;
            (*tens, *ones) = (b'0' + number / 10 % 10, b'0' + number % 10);
        }
    }
    str::from_utf8(text).unwrap_or_default()
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            Self::parse_rfc3339(&text).map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

/// The length of a tumbling window: a whole number of seconds, 1 s to 24 h.
///
/// ```
/// use logtally::engine::time::{Timestamp, WindowSize};
/// let five_minutes = WindowSize::from_millis(300_000)?;
/// assert_eq!(five_minutes.start_of(Timestamp::from_millis(-1)), Timestamp::from_millis(-300_000));
/// # Ok::<(), logtally::engine::time::WindowSizeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct WindowSize(i64);

/// A length that is no [`WindowSize`]; carries the milliseconds asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a window is a whole number of seconds from 1 s to 24 h, not {0} ms")]
pub struct WindowSizeError(i64);

impl WindowSize {
    /// Five minutes, the window of the pipeline this one replaces.
    pub const FIVE_MINUTES: Self = Self(300_000);
    /// A minute, the finest that CloudWatch keeps for long.
    pub const MINUTE: Self = Self(60_000);

    /// From milliseconds.
    ///
    /// # Errors
    /// If `millis` is no whole number of seconds from 1 s to 24 h.
    pub const fn from_millis(millis: i64) -> Result<Self, WindowSizeError> {
        if millis >= 1_000 && millis <= 86_400_000 && millis % 1_000 == 0 {
            Ok(Self(millis))
        } else {
            Err(WindowSizeError(millis))
        }
    }

    /// Milliseconds, always positive.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The start of the window that holds `time`: the multiple of the size at or before it, also before the epoch.
    #[must_use]
    pub const fn start_of(self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.saturating_sub(time.0.rem_euclid(self.0)))
    }

    /// The end (exclusive) of the window that starts at `start`.
    #[must_use]
    pub const fn end_of(self, start: Timestamp) -> Timestamp {
        start.plus_millis(self.0)
    }
}

impl TryFrom<i64> for WindowSize {
    type Error = WindowSizeError;

    fn try_from(millis: i64) -> Result<Self, Self::Error> {
        Self::from_millis(millis)
    }
}

impl From<WindowSize> for i64 {
    fn from(size: WindowSize) -> Self {
        size.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_floor_also_before_the_epoch_and_never_overflow() {
        let size = WindowSize::FIVE_MINUTES;
        for (time, start) in [(0, 0), (299_999, 0), (300_000, 300_000), (-1, -300_000), (-300_000, -300_000)]
        {
            assert_eq!(size.start_of(Timestamp::from_millis(time)), Timestamp::from_millis(start), "{time}");
        }
        assert_eq!(size.start_of(Timestamp::MIN), Timestamp::MIN);
        assert!(size.start_of(Timestamp::MAX) < Timestamp::MAX);
        assert_eq!(size.end_of(Timestamp::MAX), Timestamp::MAX);
    }

    proptest! {
        #[test]
        fn whole_seconds_are_written_as_chrono_does(
            seconds in prop_oneof![-70_000_000_000_i64..260_000_000_000, -3_000_000_000_i64..9_000_000_000],
        ) {
            let expected = DateTime::<Utc>::from_timestamp(seconds, 0).unwrap();
            let expected = expected.to_rfc3339_opts(SecondsFormat::AutoSi, true);
            prop_assert_eq!(Timestamp::from_millis(seconds * 1_000).to_string(), expected);
        }
    }

    #[test]
    fn a_timestamp_reads_back_what_it_writes() {
        for millis in [0, 1, -1, 1_800_000_000_123, -62_135_596_800_000] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(Timestamp::parse_rfc3339(&time.to_string()), Ok(time));
        }
        assert_eq!(Timestamp::from_millis(1_795_236_900_000).to_string(), "2026-11-21T04:55:00Z");
        assert_eq!(Timestamp::MAX.to_string(), "9223372036854775807 ms");
    }

    #[test]
    fn a_window_size_is_whole_seconds_up_to_a_day() {
        for bad in [0, -1, 999, 1_500, 86_401_000] {
            assert_eq!(WindowSize::from_millis(bad), Err(WindowSizeError(bad)));
        }
        assert_eq!(WindowSize::from_millis(1_000).map(WindowSize::as_millis), Ok(1_000));
    }
}
