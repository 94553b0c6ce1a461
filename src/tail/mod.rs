//! Log files as they grow: discovery, identity, rotation, compressed siblings, resume. Sends nothing.
//!
//! A [`Tailer`] is polled. Each [`Polled`] holds [`Piece`]s of whole lines, and [`Tailer::states`] says how far each
//! file was handed out with them: who stores both in one transaction loses nothing and sends nothing twice, and who
//! cannot stores [`Polled::born`] before the pieces and the states after them.
//!
//! - A file is its device, inode and content, never its name. A *generation* is one life of one file: what is written
//!   after a truncation is another one. Generation [`LEDGER`] is none; the tailer stores its own numbers there.
//! - Before anything is handed out, the head of the file and the bytes before the position are compared with what is
//!   known of them, so that `copytruncate` is noticed whatever the size of the new content.
//! - A file that lost its name is read to its end through its descriptor; after a restart it is looked for by inode
//!   and by content, also in copies and compressed forms, in the directories of the patterns and one level below.
//! - A copy of a known file is not read. Two files with the same content that are both there are taken for original
//!   and copy only if their names differ as those of rotated logs do.
//! - A last line without newline waits for its newline; it is handed out as it is when its writer moved on (another
//!   file has the name, or the file was deleted) and two scans saw no growth.
//!
//! What a tailer cannot know: bytes that were written and truncated or deleted between two looks. It tells how many it
//! knows of ([`Notice::Gone`]). Lines behind a partial truncation are a new generation from its first byte. Two files
//! that share less than 16 bytes are never taken for copies.
//!
//! Reading order: [`Tailer`] (`tailer`), a scan (`scan`, `identify`, `kinship`, `rotation`), one source (`source`,
//! `reading`, `compressed`), what tells files apart (`identity`), what survives a restart (`resume`).

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
pub use discovery::{MAX_DEPTH, MAX_ENTRIES, matches, missing};
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
        "the stored state of generation {generation} has format {version} and this version knows 2: use the version \
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
