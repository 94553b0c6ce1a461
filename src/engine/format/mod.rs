//! Apache LogFormat strings, compiled once into a parser of lines. Opens no file.
//!
//! Reading order: `directive` (the grammar of a format string) → `compile` (what its directives mean) → `lower` (the
//! steps of a line) → `run` (one line → one [`Event`]); `straight` (the same, for what is counted of plain lines); then the fields: `host`, `user`, `stamp`, `strftime`, `text`,
//! `number`; and lines that stand in JSON objects: `object`, `json`. What must hold: never a wrong field taken for right; of two records torn into one line, none is invented.
//!
//! One tear leaves no trace, and is not detected: a record cut within its host, or right behind it, whose remains
//! and the next record's host make a host again (`10` and `0.0.0.7` make `100.0.0.7`).

mod compile;
mod directive;
mod error;
mod event;
mod fields;
mod host;
mod json;
mod lower;
mod named;
mod number;
mod object;
mod run;
mod stamp;
mod step;
pub(crate) mod straight;
mod strftime;
#[cfg(test)]
mod tests;
mod text;
mod torn;
mod user;

use std::{fmt, str::FromStr, sync::Arc};

pub use self::{
    error::FormatError,
    event::{Event, Raw},
    fields::Fields,
    json::{COMMON as COMMON_FIELDS, FIELDS},
    named::NAMED,
    object::MAX_OBJECT,
    stamp::StampCache,
    text::unescape,
};
use self::{
    step::{Client, Program, Time},
    straight::Straight,
};
use crate::engine::reason::Malformed;

/// A log format, compiled: `common`, `combined`, or anything that Apache's `LogFormat` takes. Cheap to clone.
///
/// ```
/// use logtally::engine::format::{LogFormat, StampCache};
/// let format: LogFormat = "combined".parse()?;
/// let line = br#"10.0.0.7 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 2326 "-" "curl/8""#;
/// let event = format.parse(line, &mut StampCache::default()).unwrap();
/// assert_eq!(event.client, b"10.0.0.7");
/// assert_eq!(event.time.unwrap().to_string(), "2000-10-10T20:55:36Z");
/// assert_eq!(event.response, Some(200));
/// # Ok::<(), logtally::engine::format::FormatError>(())
/// ```
#[derive(Clone)]
pub struct LogFormat {
    text: Arc<str>,
    program: Arc<Program>,
}

impl LogFormat {
    /// Compiles a format string. Backslash escapes are those of Apache's configuration file, and an unescaped quote
    /// is a quote too. Nothing may follow the last field of a line.
    ///
    /// # Errors
    /// If the text is no format, or none whose lines can be read in one way only; says where and why.
    pub fn compile(text: &str) -> Result<Self, FormatError> {
        Self::new(text, None, false)
    }

    /// The format of that name: `common`, `combined`, `vhost_combined` or `combinedio`. Further fields may follow the
    /// last one, with a space between.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::new(named::text_of(name)?, None, true).ok()
    }

    /// Takes another directive for the calling host, such as `%a` or `%{X-Forwarded-For}i`. By default it is `%h`, or
    /// `%a` where the format holds no `%h`.
    ///
    /// Of a header with a list, the last element counts: that is what the nearest proxy saw, where the ones before it
    /// are what the client claims. A line whose header is absent or empty is malformed for its host.
    ///
    /// # Errors
    /// If `directive` is none, or the format does not hold it.
    pub fn with_client(self, directive: &str) -> Result<Self, FormatError> {
        Self::new(&self.text, Some(directive), self.program.open_end)
    }

    /// Whether lines tell when the request was made.
    #[must_use]
    pub fn has_time(&self) -> bool {
        self.program.time != Time::Absent
    }

    /// Whether lines tell who called.
    #[must_use]
    pub fn has_client(&self) -> bool {
        self.program.client != Client::Absent
    }

    /// The format string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reads one line, given without its newline; one carriage return at its end is not part of it.
    ///
    /// # Errors
    /// If the line is not what the format writes; says why, and at which byte.
    pub fn parse<'l>(&self, line: &'l [u8], stamps: &mut StampCache) -> Result<Event<'l>, Malformed> {
        self.program.parse(line, stamps)
    }

    /// How plain lines are read by their marks, if they can be.
    pub(crate) fn straight(&self) -> Option<Straight> {
        Straight::of(&self.program)
    }

    /// The name of the format that parses most of `lines`, if any does; of equals the one with most fields.
    #[must_use]
    pub fn nearest_named(lines: &[&[u8]]) -> Option<&'static str> {
        named::nearest(lines)
    }

    fn new(text: &str, client: Option<&str>, open_end: bool) -> Result<Self, FormatError> {
        let program = compile::compile(text, client, open_end)?;
        Ok(Self { text: text.into(), program: Arc::new(program) })
    }
}

impl FromStr for LogFormat {
    type Err = FormatError;

    /// A name, or a format string.
    fn from_str(text: &str) -> Result<Self, FormatError> {
        if let Some(format) = Self::named(text) {
            return Ok(format);
        }
        if text.contains('%') {
            return Self::compile(text);
        }
        let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
        let reason = format!(
            "{text:?} is neither a format string, which holds a %, nor one of the names {}",
            names.join(", ")
        );
        Err(FormatError::new(1, reason))
    }
}

impl fmt::Debug for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFormat").field(&self.text).finish_non_exhaustive()
    }
}
