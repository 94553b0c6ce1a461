//! Durations (`5m`, `1h30m`, `200ms`) and sizes (`512KiB`) in text. Knows no bounds.

use std::time::Duration;

/// What is wrong with a duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A bare number.
    #[error("\"{text}\" has no unit; write for example {example}")]
    NoUnit {
        /// As given, cut to a few characters.
        text: String,
        /// How it could read.
        example: &'static str,
    },
    /// Not of the form number, unit.
    #[error("\"{text}\" is no {what}; write for example {example}")]
    NotOne {
        /// As given, cut to a few characters.
        text: String,
        /// `duration` or `size`.
        what: &'static str,
        /// How it could read.
        example: &'static str,
    },
    /// Beyond 64 bits.
    #[error("\"{text}\" is too large")]
    TooLarge {
        /// As given, cut to a few characters.
        text: String,
    },
}

/// Milliseconds in each unit, largest first; a duration may name each once, in this order.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Bytes in each unit, largest first.
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// How many characters of a bad value a message shows.
const SHOWN: usize = 40;

/// Parses a duration: whole numbers with `d`, `h`, `m`, `s`, `ms`, each once, largest first.
///
/// ```
/// use logtally::config::units::duration;
/// assert_eq!(duration("1h30m").unwrap().as_secs(), 5_400);
/// assert_eq!(duration("5").unwrap_err().to_string(), r#""5" has no unit; write for example "5m", "10s" or "1h30m""#);
/// ```
///
/// # Errors
/// If `text` is of another form or beyond 64 bits of milliseconds.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let example = "\"5m\", \"10s\" or \"1h30m\"";
    sum(text, "duration", example, &TIMES).map(Duration::from_millis)
}

/// Parses a size in bytes: one whole number with `B`, `KiB`, `MiB`, `GiB` or `TiB`.
///
/// # Errors
/// If `text` is of another form or beyond 64 bits.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let example = "\"512KiB\" or \"10GiB\"";
    let units = text.bytes().filter(u8::is_ascii_alphabetic).count();
    if units > 3 {
        return Err(not_one(text, "size", example));
    }
    sum(text, "size", example, &SIZES)
}

/// The shortest text that [`duration`] reads as `millis`.
pub(super) fn show_millis(millis: u64) -> String {
    let mut rest = millis;
    let mut parts = Vec::new();
    for (unit, factor) in TIMES {
        if rest >= factor {
            parts.push(format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

/// A text that is exactly `bytes`, in its largest whole unit.
pub(super) fn show_bytes(bytes: u64) -> String {
    let (unit, factor) =
        SIZES.into_iter().find(|(_, factor)| bytes.is_multiple_of(*factor)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

fn sum(
    text: &str,
    what: &'static str,
    example: &'static str,
    units: &[(&str, u64)],
) -> Result<u64, UnitError> {
    let trimmed = text.trim();
    if !trimmed.is_empty() && trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UnitError::NoUnit { text: cut(text), example });
    }
    let (mut rest, mut units, mut total) = (trimmed, units, 0_u64);
    if rest.is_empty() {
        return Err(not_one(text, what, example));
    }
    while !rest.is_empty() {
        let (number, behind) = split(rest, |byte| byte.is_ascii_digit());
        let (unit, behind) = split(behind, |byte| byte.is_ascii_alphabetic());
        let at = units.iter().position(|(name, _)| *name == unit);
        let (false, Some(((_, factor), smaller))) =
            (number.is_empty(), at.and_then(|at| units.get(at..)?.split_first()))
        else {
            return Err(not_one(text, what, example));
        };
        let value = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        total = value
            .and_then(|value| total.checked_add(value))
            .ok_or_else(|| UnitError::TooLarge { text: cut(text) })?;
        (rest, units) = (behind, smaller);
    }
    Ok(total)
}

fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let at = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    text.split_at_checked(at).unwrap_or((text, ""))
}

fn not_one(text: &str, what: &'static str, example: &'static str) -> UnitError {
    UnitError::NotOne { text: cut(text), what, example }
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up_their_units() {
        for (text, millis) in [
            ("5m", 300_000),
            ("10s", 10_000),
            ("200ms", 200),
            ("1h30m", 5_400_000),
            ("0s", 0),
            ("7d", 604_800_000),
            (" 1d1h1m1s1ms ", 90_061_001),
            ("90m", 5_400_000),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", " ", "m", "5x", "5 m", "-5m", "1.5h", "5m1h", "5m5m", "5M", "5m7", "٣m", "5µs"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration(&"9".repeat(30)).is_err());
        assert_eq!(duration("300000000000d").unwrap_err().to_string(), "\"300000000000d\" is too large");
        assert_eq!(
            duration(&"x".repeat(1_000)).unwrap_err().to_string().len(),
            SHOWN + "\"\" is no duration; write for example \"5m\", \"10s\" or \"1h30m\"".len()
        );
    }

    #[test]
    fn sizes_have_one_binary_unit() {
        assert_eq!(size("512KiB"), Ok(524_288));
        assert_eq!(size("10GiB"), Ok(10_737_418_240));
        assert_eq!(size("0B"), Ok(0));
        for text in ["512", "512KB", "1GiB1MiB", "1 GiB", "KiB", "1e9B", "16777216TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_are_shown_as_they_are_written() {
        for text in ["0s", "1ms", "1h30m", "365d"] {
            let millis = u64::try_from(duration(text).unwrap().as_millis()).unwrap();
            assert_eq!(show_millis(millis), text);
        }
        for text in ["1B", "1KiB", "512KiB", "1TiB"] {
            assert_eq!(show_bytes(size(text).unwrap()), text);
        }
    }
}
