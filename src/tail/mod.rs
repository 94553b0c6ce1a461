//! Log files as they grow: discovery, identity, rotation, compressed siblings, resume. Sends nothing.

mod compressed;
mod discovery;
mod identify;
mod identity;
mod kinship;
mod lines;
mod notice;
pub mod open;
mod pattern;
mod reader;
mod reading;
mod resume;
mod rotation;
mod scan;
mod source;
mod tailer;
mod watch;

use std::fmt::Display;

pub use compressed::MAX_UNPACKING;
pub use discovery::{MAX_DEPTH, MAX_ENTRIES, matches};
pub use lines::{Lines, Piece, Progress, READ_SIZE};
pub use notice::{MAX_NOTICES, Notice};
pub use resume::{Known, LEDGER, State, claim_generation, known};
pub use rotation::{LINGER_MS, MAX_OPEN, MAX_REMEMBERED, QUIET_SCANS, REMEMBER_MS, SEARCH_MS};
pub use tailer::{DEFAULT_MAX_FILES, DEFAULT_REFRESH_MS, Polled, Settings, SourceStatus, Start, Tailer};
pub use watch::{MAX_WATCHES, Waker};

/// Why tailing cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TailError {
    /// A pattern cannot be understood.
    #[error("file pattern \"{pattern}\": {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// A newer version wrote the state of a file.
    #[error(
        "the stored state of generation {generation} has format {version} and this version knows 1: use the version \
         that wrote it"
    )]
    NewerState {
        /// The life of the file.
        generation: u64,
        /// The format of its state.
        version: u8,
    },
    /// The state of a file is not what was stored.
    #[error(
        "the stored state of generation {generation} is broken: restore the state, or remove it to begin anew"
    )]
    BrokenState {
        /// The life of the file.
        generation: u64,
    },
}

impl TailError {
    fn pattern(pattern: &str, why: &impl Display) -> Self {
        Self::Pattern { pattern: pattern.to_owned(), why: why.to_string() }
    }
}
