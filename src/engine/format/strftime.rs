//! `%{format}t`: times in any of strftime's forms, in parts, and since the epoch. Knows no stamp of `%t`: `stamp` does.
//!
//! Source: <https://httpd.apache.org/docs/2.4/mod/mod_log_config.html#formats>. Times without a zone are UTC.

use std::fmt;

use chrono::{
    DateTime, FixedOffset, Utc,
    format::{Fixed, Item, Parsed, StrftimeItems, parse_and_remainder},
};

use super::{compile::Kind, error::FormatError, number};
use crate::engine::{reason::Reason, time::Timestamp};

/// The longest text of one strftime directive, in bytes; a longer one is [`Reason::Time`].
const MAX_TIME: usize = 128;

/// strftime formats that are the stamp of `%t` without its brackets.
const STAMPS: [&str; 2] = ["%d/%b/%Y:%H:%M:%S %z", "%d/%b/%Y:%T %z"];

/// A directive that tells a part of the time.
pub(super) enum Clock {
    Strftime(Box<[Item<'static>]>),
    /// Since the epoch.
    Seconds,
    Millis,
    Micros,
    /// Of the second: three digits.
    MilliFraction,
    /// Six digits.
    MicroFraction,
}

/// What a time directive is, and whether it means the end of the request.
pub(super) struct TimeOf {
    pub(super) kind: Kind,
    pub(super) end: bool,
}

/// The meaning of `%{argument}t`.
pub(super) fn time_of(argument: &str, position: usize) -> Result<TimeOf, FormatError> {
    let (end, argument) = match (argument.strip_prefix("begin:"), argument.strip_prefix("end:")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => (false, argument),
    };
    let kind = match argument {
        "" => Kind::Stamp { brackets: true },
        "sec" => Kind::Clock(Clock::Seconds),
        "msec" => Kind::Clock(Clock::Millis),
        "usec" => Kind::Clock(Clock::Micros),
        "msec_frac" => Kind::Clock(Clock::MilliFraction),
        "usec_frac" => Kind::Clock(Clock::MicroFraction),
        stamp if STAMPS.contains(&stamp) => Kind::Stamp { brackets: false },
        other => Kind::Clock(Clock::strftime(other, position)?),
    };
    Ok(TimeOf { kind, end })
}

impl Clock {
    fn strftime(text: &str, position: usize) -> Result<Self, FormatError> {
        let refuse = |reason: String| FormatError::new(position, reason);
        let items = StrftimeItems::new(text)
            .parse_to_owned()
            .map_err(|_| refuse(format!("{text:?} is no format of strftime; %{{%d/%b/%Y:%T %z}}t is one")))?;
        if items.iter().any(|item| matches!(item, Item::Fixed(Fixed::TimezoneName))) {
            return Err(refuse("%Z names a zone but not its offset; write %z".to_owned()));
        }
        Ok(Self::Strftime(items.into()))
    }

    /// Whether `clocks` together give a date and a time: they are shown one.
    pub(super) fn tell_a_time<'a>(clocks: impl Iterator<Item = &'a Self>) -> bool {
        let Some(sample) = DateTime::<Utc>::from_timestamp(971_186_136, 0) else {
            return false;
        };
        let sample: DateTime<FixedOffset> = sample.fixed_offset();
        let mut moment = Moment::default();
        for clock in clocks {
            let text = match clock {
                Self::Strftime(items) => {
                    let mut text = String::new();
                    if sample.format_with_items(items.iter()).write_to(&mut text).is_err() {
                        return false;
                    }
                    text
                }
                Self::Seconds | Self::Millis | Self::Micros => "971186136".to_owned(),
                Self::MilliFraction => "000".to_owned(),
                Self::MicroFraction => "000000".to_owned(),
            };
            if moment.read(clock, &mut text.as_bytes(), true).is_err() {
                return false;
            }
        }
        moment.resolve().is_some()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strftime(_) => "Strftime",
            Self::Seconds => "Seconds",
            Self::Millis => "Millis",
            Self::Micros => "Micros",
            Self::MilliFraction => "MilliFraction",
            Self::MicroFraction => "MicroFraction",
        })
    }
}

/// What the time directives of one line have told so far.
#[derive(Default)]
pub(super) struct Moment {
    /// A whole stamp of `%t`, or a time since the epoch.
    whole: Option<Timestamp>,
    fraction_ms: Option<i64>,
    parsed: Option<Parsed>,
}

impl Moment {
    /// Takes a stamp of `%t`; the first whole time wins.
    pub(super) fn stamp(&mut self, time: Timestamp) {
        self.whole.get_or_insert(time);
    }

    /// Reads the field of `clock` off the front of `rest`; without `counts` it is only validated.
    pub(super) fn read<'l>(
        &mut self,
        clock: &Clock,
        rest: &mut &'l [u8],
        counts: bool,
    ) -> Result<&'l [u8], Reason> {
        let start = *rest;
        if counts { self.take(clock, rest) } else { Self::default().take(clock, rest) }?;
        let length = start.len() - rest.len();
        start.get(..length).ok_or(Reason::Time)
    }

    fn take(&mut self, clock: &Clock, rest: &mut &[u8]) -> Result<(), Reason> {
        match clock {
            Clock::Strftime(items) => {
                strftime(self.parsed.get_or_insert_with(Parsed::new), items, rest)?;
            }
            Clock::Seconds => self.stamp(since_epoch(rest, |seconds| seconds.checked_mul(1_000))?),
            Clock::Millis => self.stamp(since_epoch(rest, Some)?),
            Clock::Micros => self.stamp(since_epoch(rest, |micros| Some(micros / 1_000))?),
            Clock::MilliFraction => self.fraction_ms = Some(fraction::<3>(rest)?),
            Clock::MicroFraction => self.fraction_ms = Some(fraction::<6>(rest)? / 1_000),
        }
        Ok(())
    }

    /// The time, if what was told makes one.
    pub(super) fn resolve(&self) -> Option<Timestamp> {
        let base = match (self.whole, &self.parsed) {
            (Some(whole), _) => whole.as_millis(),
            (None, Some(parsed)) => resolve(parsed)?,
            (None, None) => return None,
        };
        Some(Timestamp::from_millis(match self.fraction_ms {
            Some(fraction) => (base.div_euclid(1_000) * 1_000).saturating_add(fraction),
            None => base,
        }))
    }
}

fn resolve(parsed: &Parsed) -> Option<i64> {
    if parsed.offset().is_some() {
        return parsed.to_datetime().ok().map(|time| time.timestamp_millis());
    }
    parsed.to_naive_datetime_with_offset(0).ok().map(|time| time.and_utc().timestamp_millis())
}

fn strftime(parsed: &mut Parsed, items: &[Item<'static>], rest: &mut &[u8]) -> Result<(), Reason> {
    let window = rest.get(..MAX_TIME).unwrap_or(rest);
    // Chrono passes over any white space, a line's tabs and bytes beyond ASCII included; a time holds none.
    let printable = window.iter().position(|byte| !matches!(byte, b' '..=b'~')).unwrap_or(window.len());
    let text = window.get(..printable).and_then(|text| str::from_utf8(text).ok()).ok_or(Reason::Time)?;
    let after = parse_and_remainder(parsed, text, items.iter()).map_err(|_| Reason::Time)?;
    let taken = text.len() - after.len();
    *rest = rest.get(taken..).ok_or(Reason::Time)?;
    Ok(())
}

fn since_epoch(rest: &mut &[u8], millis: impl Fn(i64) -> Option<i64>) -> Result<Timestamp, Reason> {
    let number = number::digits(rest).ok_or(Reason::Time)?;
    let millis = i64::try_from(number).ok().and_then(millis).ok_or(Reason::Time)?;
    Ok(Timestamp::from_millis(millis))
}

fn fraction<const DIGITS: usize>(rest: &mut &[u8]) -> Result<i64, Reason> {
    let (digits, after) = rest.split_first_chunk::<DIGITS>().ok_or(Reason::Truncated)?;
    let mut value = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Reason::Time);
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    *rest = after;
    Ok(value)
}
