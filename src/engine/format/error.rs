//! What is wrong with a log format. Says nothing of lines: [`Malformed`](crate::engine::reason::Malformed) does.

use std::borrow::Cow;

/// Why a text is no log format that lines can be parsed with, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log format, byte {position}: {reason}")]
pub struct FormatError {
    /// The byte of the format string, counted from 1.
    pub position: usize,
    /// The thing and the remedy.
    pub reason: Cow<'static, str>,
}

impl FormatError {
    pub(super) fn new(position: usize, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { position, reason: reason.into() }
    }
}
