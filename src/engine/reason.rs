//! Why a line is malformed: a closed set, so that counters by reason always add up.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a line could not be counted. [`Reason::as_str`] is the name that users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing, or white space only.
    Empty,
    /// Longer than [`MAX_LINE`](crate::engine::record::MAX_LINE) bytes.
    TooLong,
    /// Holds a NUL or another control byte that no log writer leaves raw.
    Binary,
    /// Ends before its last field.
    Truncated,
    /// A literal of the format stands not where it must.
    Literal,
    /// The client is no address and no host name.
    Host,
    /// The user name cannot be told from the fields around it.
    User,
    /// The request time is no valid time.
    Time,
    /// The response status is no three-digit number.
    Response,
    /// A number (bytes, durations, ports) is none, or does not fit 64 bits.
    Number,
    /// A quoted field never ends.
    Quote,
    /// What follows the last field is no further field.
    Trailing,
    /// Two records torn into one line.
    Torn,
}

impl Reason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 13] = [
        Self::Empty,
        Self::TooLong,
        Self::Binary,
        Self::Truncated,
        Self::Literal,
        Self::Host,
        Self::User,
        Self::Time,
        Self::Response,
        Self::Number,
        Self::Quote,
        Self::Trailing,
        Self::Torn,
    ];

    /// The name in reports, metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::Binary => "binary",
            Self::Truncated => "truncated",
            Self::Literal => "literal",
            Self::Host => "host",
            Self::User => "user",
            Self::Time => "time",
            Self::Response => "response",
            Self::Number => "number",
            Self::Quote => "quote",
            Self::Trailing => "trailing",
            Self::Torn => "torn",
        }
    }
}

/// Why, and where: `column` counts bytes from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Why the line could not be counted.
    pub reason: Reason,
    /// The byte at which that was found, counted from 1.
    pub column: usize,
}

/// As [`Reason::as_str`].
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// For people: `host at byte 1`.
impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.reason, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_in_all_once_by_its_name() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
        }
        assert_eq!(Malformed { reason: Reason::Host, column: 1 }.to_string(), "host at byte 1");
    }
}
