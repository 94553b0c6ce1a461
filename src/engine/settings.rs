//! How one engine publishes, and its bounds. Holds no state.

use crate::engine::row::Origin;

/// Lines stamped further ahead than this, in milliseconds, are published as corrections: that bounds the open windows.
/// It is also how far ahead `CloudWatch` takes a datum.
pub const AHEAD_MS: i64 = 2 * 60 * 60 * 1_000;
/// Zero rows and health rows over a gap cover at most its last 24 hours, in milliseconds.
pub const GAP_MS: i64 = 24 * 60 * 60 * 1_000;
/// And at most so many windows.
pub const GAP_WINDOWS: i64 = 1_440;
/// How many counters (keys and hosts) open windows and corrections may hold; past it the oldest corrections, and if
/// that is not enough the oldest windows, are published before their time and counted as such. The sums stay right.
pub const MAX_COUNTERS: usize = 200_000;
/// A state names at most twice as many owners as its windows hold counters, and these.
pub const FEW_OWNERS: usize = 64;
/// About how many rows of corrections one cut publishes, if they are not one in [`PORTIONS`] of the counters: bounds an
/// outbox. The rest follows with the next.
pub const MAX_ROWS: usize = 4_000;
/// A cut publishes at least this part of the counters: it also holds all the others, which small portions of a large
/// state would write again and again.
pub const PORTIONS: usize = 16;
/// How many lines are gathered before they are merged into the windows.
pub(crate) const GATHER_LINES: u64 = 65_536;

/// Where an engine's lines come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From a stream: the first arrival says which windows are long over, and stamps far ahead are corrections.
    Live,
    /// From files: windows follow the files' progress, and there are no health rows.
    Replay,
}

/// How one engine publishes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Makes row ids unique.
    pub origin: Origin,
    /// Where the lines come from.
    pub mode: Mode,
    /// How long after its end a window is held, in milliseconds.
    pub allowed_lateness_ms: i64,
    /// How long corrections are gathered, in milliseconds of `complete_to`.
    pub correction_interval_ms: i64,
    /// The shard's share of the hash space, in billionths.
    pub share: u64,
    /// Whether to add a zero for every application without a request.
    pub zero_rows: bool,
    /// How many unknown hosts a row names.
    pub top_hosts: usize,
}
