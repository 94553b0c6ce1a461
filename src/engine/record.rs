//! What a stream carries: one or more whole lines with where they came from. Owns no bytes.

use crate::engine::time::Timestamp;

/// The longest line that is parsed, in bytes without its newline. A longer one is counted as
/// [`Reason::TooLong`](crate::engine::reason::Reason::TooLong); only its first bytes travel.
pub const MAX_LINE: usize = 128 * 1024;

/// A record holds lines that start in one chunk of this many bytes of the file (DESIGN.md, invariant 7).
pub const CHUNK: u64 = 512 * 1024;

/// One record of the input stream, as the engine takes it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The stream's partition key; provenance if a producer of ours wrote it, else anything or nothing.
    pub partition_key: &'a str,
    /// Whole lines, each but perhaps the last ended by `\n`.
    pub data: &'a [u8],
    /// When the stream took the record.
    pub arrival: Timestamp,
}
