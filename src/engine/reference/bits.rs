//! Addresses of each address space in as many bits as they have. Reads no text.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv6Addr},
};

use crate::engine::reference::host::{Block, Family};

/// What an IPv4 address begins with among 128 bits, `::ffff:0:0/96`.
const MAPPED: u128 = 0xffff << 32;

/// An address of one address space, as tables hold it.
pub(super) trait Bits: Copy + Ord + Hash {
    /// Which space.
    const FAMILY: Family;

    /// The first address.
    const ZERO: Self;

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
    const ZERO: Self = 0;

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

/// An IPv6 address. In bytes, since what holds a `u128` is padded to a multiple of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed([u8; 16]);

impl Bits for Packed {
    const FAMILY: Family = Family::V6;
    const ZERO: Self = Self([0; 16]);

    #[inline]
    fn of(wide: u128) -> Self {
        Self(wide.to_ne_bytes())
    }

    #[inline]
    fn wide(self) -> u128 {
        u128::from_ne_bytes(self.0)
    }
}

impl Ord for Packed {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.wide().cmp(&other.wide())
    }
}

impl PartialOrd for Packed {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Packed {
    #[inline]
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u128(self.wide());
    }
}
