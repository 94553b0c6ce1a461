//! What a `Host` cell or a client in a log can be: a name, an address, a CIDR block. Looks nothing up.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The longest text that can name a host: `[`, an IPv6 address, `%`, a zone, `]`; a name has at most 253 bytes and a
/// dot. What is longer is no host.
pub(super) const MAX_HOST: usize = 320;

/// The longest name, in bytes without a trailing dot (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;

/// The longest label of a name, in bytes (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;

/// Bits in front of an IPv4 address in its IPv4-mapped form, `::ffff:0:0/96`.
const MAPPED_BITS: u8 = 96;

/// A host in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host<'a> {
    /// A name in lower case without trailing dot; borrowed if it was written so.
    Name(Cow<'a, str>),
    /// An address; an IPv4-mapped one is IPv4.
    Address(IpAddr),
    /// A block of addresses, and whether bits behind the prefix had to be cleared.
    Block(Block, bool),
}

impl<'a> Host<'a> {
    /// Reads a host; `None` if `text` is none.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_HOST {
            return None;
        }
        if let Some((address, length)) = text.split_once('/') {
            let (block, cleared) = Block::parse(address, length)?;
            return Some(block.only().map_or(Self::Block(block, cleared), Self::Address));
        }
        address(text).map(Self::Address).or_else(|| name(text).map(Self::Name))
    }
}

/// The canonical text, as the table of hosts holds it.
impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
            Self::Block(block, _) => block.fmt(f),
        }
    }
}

/// Which of the two address spaces; `::/0` holds no IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

/// A CIDR block: the addresses that share `length` leading bits with `first`, all 128 bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    pub(super) family: Family,
    pub(super) first: u128,
    pub(super) length: u8,
}

impl Block {
    fn parse(address: &str, length: &str) -> Option<(Self, bool)> {
        if length.is_empty() || length.len() > 3 || !length.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let length: u8 = length.parse().ok()?;
        let address: IpAddr = address.parse().ok()?;
        let (family, length) = match address {
            IpAddr::V4(_) => (Family::V4, length.checked_add(MAPPED_BITS)?),
            IpAddr::V6(v6) if length >= MAPPED_BITS && v6.to_ipv4_mapped().is_some() => (Family::V4, length),
            IpAddr::V6(_) => (Family::V6, length),
        };
        if length > 128 {
            return None;
        }
        let (_, bits) = bits(address);
        let first = bits & prefix_mask(length);
        Some((Self { family, first, length }, first != bits))
    }

    /// The address, if there is but one in it: `10.0.0.1/32` is `10.0.0.1`.
    fn only(self) -> Option<IpAddr> {
        let address = Ipv6Addr::from_bits(self.first);
        (self.length == 128).then(|| address.to_canonical())
    }

    /// Whether `bits`, an address of the same family, lies in the block.
    pub(super) fn contains(self, bits: u128) -> bool {
        bits & prefix_mask(self.length) == self.first
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = Ipv6Addr::from_bits(self.first);
        match (self.family, first.to_ipv4_mapped()) {
            (Family::V4, Some(v4)) => write!(f, "{v4}/{}", self.length.saturating_sub(MAPPED_BITS)),
            (Family::V4 | Family::V6, _) => write!(f, "{first}/{}", self.length),
        }
    }
}

/// The address space of an address and its 128 bits; IPv4 in its IPv4-mapped form.
pub(super) fn bits(address: IpAddr) -> (Family, u128) {
    match address {
        IpAddr::V4(v4) => (Family::V4, v4.to_ipv6_mapped().to_bits()),
        IpAddr::V6(v6) => (Family::V6, v6.to_bits()),
    }
}

fn prefix_mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(length))).unwrap_or(0)
}

/// IPv4, or IPv6 with or without brackets and zone.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Some(v4.into());
    }
    let inner = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => text,
    };
    let inner = match inner.split_once('%') {
        Some((_, zone)) if zone.is_empty() || !zone.bytes().all(|byte| byte.is_ascii_graphic()) => {
            return None;
        }
        Some((address, _zone)) => address,
        None => inner,
    };
    inner.parse::<Ipv6Addr>().ok().map(|v6| v6.to_canonical())
}

/// A name whose last label is a number would be a mistyped address or a range of them, `10.0.0.1-9`; `-` is what a log
/// has for nothing.
fn name(text: &str) -> Option<Cow<'_, str>> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let labels_fit = name.split('.').all(|label| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    });
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.len() > MAX_NAME || !labels_fit || last.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    {
        return None;
    }
    Some(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Option<String> {
        Host::parse(text).map(|host| host.to_string())
    }

    #[test]
    fn hosts_have_one_canonical_form() {
        for (written, canonical_form) in [
            ("web1", "web1"),
            ("Web1.Example.COM.", "web1.example.com"),
            ("_dmarc.my_host", "_dmarc.my_host"),
            ("1a.2b", "1a.2b"),
            ("10.0.0.1", "10.0.0.1"),
            ("::FFFF:10.0.0.1", "10.0.0.1"),
            ("::ffff:a00:1", "10.0.0.1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]", "fe80::1"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("::ffff:10.1.2.3/128", "10.1.2.3"),
            ("2001:db8::1/128", "2001:db8::1"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
        ] {
            assert_eq!(canonical(written).as_deref(), Some(canonical_form), "{written}");
            assert_eq!(canonical(canonical_form).as_deref(), Some(canonical_form), "canonical twice");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long_name = ["a".repeat(63).as_str(); 4].join(".");
        for text in [
            "",
            ".",
            "a..b",
            "a b",
            "10.0.0.300",
            "10.0.0.1.",
            "10.0.0",
            "010.0.0.1",
            "1",
            "a.1",
            "[10.0.0.1]",
            "[::1",
            "::1]",
            "[]",
            "::1%",
            "[::1]:80",
            "10.0.0.1:80",
            ":",
            "bücher.de",
            "*.example.com",
            "a\0b",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/255.0.0.0",
            "/8",
            "web1/8",
            "[::]/8",
            "10.0.0.0/8/8",
            "10.0.0.0/999",
            "-",
            "10.0.0.1-9",
            "\"a\"",
            &"a".repeat(64),
            &long_name,
            &"1".repeat(100_000),
        ] {
            assert_eq!(canonical(text), None, "{text:?}");
        }
        assert!(canonical(&long_name[..253]).is_some());
    }

    #[test]
    fn cleared_host_bits_are_told() {
        for (text, cleared) in
            [("10.0.0.0/8", false), ("10.0.0.1/8", true), ("::1/127", true), ("::1/0", true)]
        {
            assert!(matches!(Host::parse(text), Some(Host::Block(_, told)) if told == cleared), "{text}");
        }
    }

    #[test]
    fn a_block_holds_the_addresses_of_its_prefix() {
        let Some(Host::Block(block, _)) = Host::parse("10.0.0.128/25") else {
            panic!("no block");
        };
        for (address, inside) in
            [("10.0.0.127", false), ("10.0.0.128", true), ("10.0.0.255", true), ("10.0.1.0", false)]
        {
            assert_eq!(block.contains(bits(address.parse().unwrap()).1), inside, "{address}");
        }
    }
}
