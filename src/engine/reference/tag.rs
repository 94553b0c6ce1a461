//! What a table keeps of a row and of a host, in 32 bits. Knows no hosts.

use crate::engine::reference::{MAX_ROWS, Resolution};

/// Bits of an index: of an owner or of a timeline, of which there is at most one a row.
const INDEX_BITS: u32 = 21;
const TIMED: u32 = 1 << INDEX_BITS;
const SPARE_SHIFT: u32 = INDEX_BITS + 1;

const _: () = assert!(MAX_ROWS < 1 << INDEX_BITS);

/// An index, whether time matters, and ten bits for the table to use. The tag of a row and that of a settled host name
/// the owner or, if that depends on the time, the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    pub(super) const SPARE_BITS: u32 = u32::BITS - SPARE_SHIFT;

    /// Of no host: names a timeline that does not exist.
    pub(super) const NONE: Self = Self(TIMED | (TIMED - 1));

    pub(super) fn new(index: u32, timed: bool) -> Self {
        Self(index & (TIMED - 1) | if timed { TIMED } else { 0 })
    }

    /// The tag of a host with rows, which is never [`Resolution::Unowned`].
    pub(super) fn of(resolution: Resolution) -> Self {
        match resolution {
            Resolution::Owned(owner) => Self::new(owner, false),
            Resolution::ByTime(timeline) => Self::new(timeline, true),
            Resolution::Unowned => Self::NONE,
        }
    }

    #[inline]
    pub(super) fn is_none(self) -> bool {
        self.with_spare(0) == Self::NONE
    }

    /// Of a settled host.
    #[inline]
    pub(super) fn resolution(self) -> Resolution {
        if self.timed() { Resolution::ByTime(self.index()) } else { Resolution::Owned(self.index()) }
    }

    #[inline]
    pub(super) fn index(self) -> u32 {
        self.0 & (TIMED - 1)
    }

    #[inline]
    pub(super) fn timed(self) -> bool {
        self.0 & TIMED != 0
    }

    /// The same with other spare bits, of which there are [`Self::SPARE_BITS`].
    pub(super) fn with_spare(self, spare: u32) -> Self {
        Self((self.0 & ((1 << SPARE_SHIFT) - 1)) | (spare << SPARE_SHIFT))
    }

    #[inline]
    pub(super) fn spare(self) -> u32 {
        self.0 >> SPARE_SHIFT
    }
}
