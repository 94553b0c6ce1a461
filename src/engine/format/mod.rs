//! Apache LogFormat strings, compiled once into a parser of lines. Opens no file.
#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason
)]
use crate::engine::{reason::*, time::Timestamp};
#[derive(Clone, Debug)]
pub struct LogFormat;
#[derive(Default, Clone, Debug)]
pub struct StampCache;
#[derive(Debug)]
pub struct FormatError;
pub struct Event<'l> {
    pub client: &'l [u8],
    pub time: Option<Timestamp>,
    pub response: Option<u16>,
    pub bytes: u64,
}
impl LogFormat {
    pub fn compile(_: &str) -> Result<Self, FormatError> {
        Ok(Self)
    }
    pub fn named(_: &str) -> Option<Self> {
        Some(Self)
    }
    pub fn nearest_named(_: &[&[u8]]) -> Option<&'static str> {
        None
    }
    pub fn parse<'l>(&self, line: &'l [u8], _: &mut StampCache) -> Result<Event<'l>, Malformed> {
        // stub: "host millis status bytes"
        let bad = |reason| Malformed { reason, column: 1 };
        let text = std::str::from_utf8(line).map_err(|_| bad(Reason::Host))?;
        let mut p = text.split(' ');
        let client = p.next().unwrap().as_bytes();
        let t = p.next().ok_or(bad(Reason::Truncated))?.parse().map_err(|_| bad(Reason::Time))?;
        let response = p.next().and_then(|s| s.parse().ok());
        let bytes = p.next().and_then(|s| s.parse().ok()).unwrap_or(0);
        Ok(Event { client, time: Some(Timestamp::from_millis(t)), response, bytes })
    }
}
