//! Addresses in the form in which logs have them, read fast. What is written otherwise is for `host`.
//!
//! The standard library takes longer to read an address than it takes to look it up: `resolve` in `benches/parse.rs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest IPv4 address.
const MAX_V4: usize = "255.255.255.255".len();

/// The longest IPv6 address without an IPv4 one in it.
const MAX_V6: usize = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".len();

/// 1 in each of four bytes.
const EACH: u32 = u32::from_le_bytes([1; 4]);

/// The highest bit of each of four bytes.
const HIGH: u32 = EACH << 7;

/// What no hexadecimal digit is in [`HEX`].
const NO_DIGIT: u8 = 16;

/// The value of each byte that is a hexadecimal digit.
#[expect(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "a byte, and a digit's value")]
const HEX: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut byte = 0;
    while byte < 256 {
        if let Some(digit) = char::to_digit(byte as u8 as char, 16) {
            values[byte] = digit as u8;
        }
        byte += 1;
    }
    values
};

/// An address of digits and dots, or of hexadecimal digits and colons. `None` of what is something else, or might be an
/// address in another form.
#[inline]
pub(super) fn address(host: &[u8]) -> Option<IpAddr> {
    let begin: &[u8; 5] = host.first_chunk()?;
    // A colon comes soon or never.
    if begin.iter().map(|&byte| u8::from(byte == b':')).sum::<u8>() > 0 {
        return v6(host).map(|bits| Ipv6Addr::from_bits(bits).to_canonical());
    }
    match (begin, host.last()) {
        ([b'0'..=b'9', ..], Some(b'0'..=b'9')) => v4(host).map(|bits| Ipv4Addr::from_bits(bits).into()),
        _ => None,
    }
}

/// Four octets. Without a branch on any byte, since each would be a guess, and without one octet waiting for another.
#[expect(clippy::cast_possible_truncation, reason = "an octet and its dot are in four bytes")]
fn v4(host: &[u8]) -> Option<u32> {
    let text = dotted(host)?;
    let mut dots = dots(text as u64) | dots((text >> 64) as u64) << 8;
    let (mut begin, mut bits, mut wrong) = (0, 0, 0);
    for _ in 0..4 {
        let dot = dots.trailing_zeros();
        let octet = Octet::of((text >> (8 * begin % u128::BITS)) as u32, dot.wrapping_sub(begin));
        bits = bits << 8 | octet.value;
        wrong |= octet.wrong;
        begin = dot + 1;
        dots &= dots.wrapping_sub(1);
    }
    (wrong | dots == 0).then_some(bits)
}

/// Up to 15 bytes, and a dot behind them.
#[inline]
fn dotted(host: &[u8]) -> Option<u128> {
    if host.len() > MAX_V4 {
        return None;
    }
    let both_ends = if let (Some(first), Some(last)) = (host.first_chunk(), host.last_chunk()) {
        let behind = 8 * (host.len() - 8);
        u128::from(u64::from_le_bytes(*first)) | (u128::from(u64::from_le_bytes(*last)) << behind)
    } else {
        let behind = 8 * host.len().checked_sub(4)?;
        let (first, last) = (host.first_chunk()?, host.last_chunk()?);
        u128::from(u32::from_le_bytes(*first)) | (u128::from(u32::from_le_bytes(*last)) << behind)
    };
    Some(both_ends | u128::from(b'.') << (8 * host.len()))
}

/// A bit for each of eight bytes that is a dot.
#[inline]
fn dots(text: u64) -> u32 {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    const LOW: u64 = EACH * 0x7f;
    /// Moves the lowest bits of eight bytes into the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let other = text ^ (EACH * u64::from(b'.'));
    let highest = !(((other & LOW) + LOW) | other | LOW);
    ((highest >> 7).wrapping_mul(GATHER) >> 56) as u32
}

/// A number of up to three digits.
struct Octet {
    value: u32,
    /// Zero if it is one.
    wrong: u32,
}

impl Octet {
    /// Reads the first bytes of four.
    #[inline]
    fn of(text: u32, length: u32) -> Self {
        // The digits in the last bytes, zeros before them.
        let unused = 4_u32.wrapping_sub(length).wrapping_mul(8) % u32::BITS;
        let digits = (text ^ (EACH * u32::from(b'0'))) << unused;
        let no_digits = (((digits & !HIGH) + EACH * 0x76) | digits) & HIGH;
        let [_, hundreds, tens, ones] = digits.to_le_bytes().map(u32::from);
        let value = hundreds * 100 + tens * 10 + ones;
        let too_long = u32::from(length.wrapping_sub(1) > 2);
        let zero_first = u32::from(length != 1) & u32::from(text & 0xff == u32::from(b'0'));
        Self { value, wrong: no_digits | too_long | zero_first | value >> 8 }
    }
}

fn v6(host: &[u8]) -> Option<u128> {
    if host.len() > MAX_V6 {
        return None;
    }
    let (mut bits, mut groups, mut gap) = (0_u128, 0, None);
    let (mut group, mut digits) = (0, 0);
    for &byte in host {
        let digit = HEX.get(usize::from(byte)).copied().unwrap_or(NO_DIGIT);
        if digit < NO_DIGIT {
            group = group << 4 | u32::from(digit);
            digits += 1;
        } else if byte == b':' && matches!(digits, 1..=4) {
            bits = bits << 16 | u128::from(group);
            groups += 1;
            (group, digits) = (0, 0);
        } else if byte == b':' && digits == 0 && groups > 0 && gap.is_none() {
            gap = Some(groups);
        } else {
            return None;
        }
    }
    match digits {
        0 if gap == Some(groups) => {}
        1..=4 => {
            bits = bits << 16 | u128::from(group);
            groups += 1;
        }
        _ => return None, // a colon at the end, or a long group
    }
    match gap {
        None => (groups == 8).then_some(bits),
        Some(before) if groups < 8 => {
            let behind = 16 * (groups - before);
            let low = bits & ((1 << behind) - 1);
            Some(bits >> behind << (16 * (8 - before)) | low)
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_forms_are_read_and_others_left() {
        for text in [
            "0.0.0.0",
            "10.0.0.1",
            "255.255.255.255",
            "100.20.3.0",
            "2001:db8::1",
            "2001:DB8:0:0:0:0:0:1",
            "fe80::",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "a::ffff:a00:1",
        ] {
            assert_eq!(address(text.as_bytes()), Some(text.parse().unwrap()), "{text}");
        }
        assert_eq!(address(b"0:0::ffff:a00:1"), Some(IpAddr::from([10, 0, 0, 1])));
        for text in [
            "",
            "web1",
            "a.b.c.d",
            "10.0.0.256",
            "10.0.0",
            "10.0.0.1.2",
            "10..0.1",
            "10.0.0.01",
            "010.0.0.1",
            "1000.0.0.1",
            "10.0.0.1 ",
            "10.0.0,1",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            "1:::2",
            "1:2:",
            "12345::",
            "1::12345",
            "1:2:3:4::5:6:7:8",
            "::1",
            "[2001:db8::1]",
            "2001:db8::1%eth0",
            "::ffff:10.0.0.1",
            "2001:db8::g",
        ] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_standard_library_reads(
            text in r"([0-9]{1,3}\.){2,4}[0-9]{1,3}|([0-9a-fA-F]{0,5}:){1,9}[0-9a-f]{0,5}|[0-9.:a]{0,20}",
        ) {
            let expected = text.parse().ok().map(|address: IpAddr| address.to_canonical());
            let read = address(text.as_bytes());
            prop_assert!(read.is_none() || read == expected, "{:?}", read);
            // Only what begins with colons, or ends with an IPv4 address, is left.
            prop_assert!(read == expected || text.contains("::"), "{:?}", expected);
        }

        #[test]
        fn canonical_addresses_are_read(v4 in any::<u32>(), v6 in any::<u128>(), zeros in 0..8_u32, at in 0..8_u32) {
            let v6 = v6 & !(u128::MAX >> (16 * zeros) << (16 * at)) | 1 << 124;
            for expected in [IpAddr::from(Ipv4Addr::from_bits(v4)), Ipv6Addr::from_bits(v6).into()] {
                prop_assert_eq!(address(expected.to_string().as_bytes()), Some(expected));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(host in prop::collection::vec(any::<u8>(), 0..50)) {
            let expected = std::str::from_utf8(&host).ok().and_then(|text| text.parse::<IpAddr>().ok());
            let read = address(&host);
            prop_assert!(read.is_none() || read == expected);
        }
    }
}
