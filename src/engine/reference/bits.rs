//! Addresses of each address space in as many bits as they have. Reads no text.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
};

use crate::engine::reference::host::{Block, Family};

/// What an IPv4 address begins with among 128 bits, `::ffff:0:0/96`.
const MAPPED: u128 = 0xffff << 32;

/// An address of one address space, as tables hold it.
pub(super) trait Bits: Copy + Ord + Hash {
    /// Which space.
    const FAMILY: Family;

    /// Of the 128 bits of an address of this space.
    fn of(wide: u128) -> Self;

    /// 128 bits; IPv4 in its IPv4-mapped form.
    fn wide(self) -> u128;

    /// The canonical address.
    fn address(self) -> IpAddr {
        Ipv6Addr::from_bits(self.wide()).to_canonical()
    }

    /// The block that begins here, with a prefix of so many of 128 bits.
    #[inline]
    fn block(self, length: u8) -> Block {
        Block { family: Self::FAMILY, first: self.wide(), length }
    }
}

impl Bits for u32 {
    const FAMILY: Family = Family::V4;

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "what is cut off is the same for all")]
    fn of(wide: u128) -> Self {
        wide as Self
    }

    #[inline]
    fn wide(self) -> u128 {
        MAPPED | u128::from(self)
    }
}

/// An IPv6 address. In halves, since what holds a `u128` is padded to a multiple of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Halves {
    high: u64,
    low: u64,
}

impl Bits for Halves {
    const FAMILY: Family = Family::V6;

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is left")]
    fn of(wide: u128) -> Self {
        Self { high: (wide >> 64) as u64, low: wide as u64 }
    }

    #[inline]
    fn wide(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}
