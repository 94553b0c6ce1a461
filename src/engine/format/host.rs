//! Calling hosts: IPv4, IPv6 and names, told from everything else. Resolves nothing and keeps the spelling.

use std::net::Ipv6Addr;

use super::{step::End, text::ends_at};
use crate::engine::reason::Reason;

/// The longest host name, in bytes (RFC 1035, 2.3.4, as text).
const MAX_NAME: usize = 253;

/// The longest IPv6 address as text, in bytes, without its zone.
const MAX_IPV6: usize = 45;

/// The longest zone of a link-local address, in bytes: the name of an interface.
const MAX_ZONE: usize = 15;

/// The host at the front of `rest`, which is left behind it.
#[inline]
pub(super) fn host<'l>(rest: &mut &'l [u8], end: End, strict: bool) -> Result<&'l [u8], Reason> {
    let length = match end {
        End::Byte(byte) => rest.iter().position(|&other| other == byte),
        End::Quote => rest.iter().position(|&other| other == b'"'),
        End::Line => Some(rest.len()),
    };
    let (token, after) = ends_at(rest, length)?;
    valid(token, strict)?;
    *rest = after;
    Ok(token)
}

/// The host at the front of `rest` that has `:` and a port behind it: an IPv6 address holds colons itself.
pub(super) fn before_port<'l>(rest: &mut &'l [u8], strict: bool) -> Result<&'l [u8], Reason> {
    let word = rest.iter().take_while(|&&byte| byte > b' ' && byte != b'"').count();
    let (word, _) = ends_at(rest, Some(word))?;
    let colon = word.iter().rposition(|&byte| byte == b':');
    let (token, after) = ends_at(rest, colon).map_err(|_| Reason::Host)?;
    valid(token, strict)?;
    *rest = after;
    Ok(token)
}

#[inline]
fn valid(token: &[u8], strict: bool) -> Result<(), Reason> {
    if is_ipv4(token) || is_host(token) || (!strict && is_server(token)) { Ok(()) } else { Err(Reason::Host) }
}

/// What stands for a server, but for no client: `-`, or an address in brackets.
#[cold]
fn is_server(token: &[u8]) -> bool {
    let inner = token.strip_prefix(b"[").and_then(|token| token.strip_suffix(b"]"));
    token == b"-" || inner.is_some_and(is_ipv6)
}

/// Whether `token` is an IPv4 or IPv6 address or a host name.
pub(super) fn is_host(token: &[u8]) -> bool {
    is_ipv4(token) || is_name(token) || is_ipv6(token)
}

/// Four decimal numbers up to 255 with dots between, none with a leading zero.
#[inline]
pub(super) fn is_ipv4(token: &[u8]) -> bool {
    let mut rest = token;
    for octet in 0..4 {
        if octet > 0 {
            let Some(after) = rest.strip_prefix(b".") else {
                return false;
            };
            rest = after;
        }
        rest = match *rest {
            [b'2', b'5', b'0'..=b'5', ref after @ ..]
            | [b'2', b'0'..=b'4', b'0'..=b'9', ref after @ ..]
            | [b'1', b'0'..=b'9', b'0'..=b'9', ref after @ ..]
            | [b'1'..=b'9', b'0'..=b'9', ref after @ ..]
            | [b'0'..=b'9', ref after @ ..] => after,
            _ => return false,
        };
    }
    rest.is_empty()
}

/// Labels of letters, digits, `-` and `_` with dots between, and perhaps one behind. What ends in a number is meant
/// as an address (as in URLs: <https://url.spec.whatwg.org/#ends-in-a-number-checker>), and so no name: two
/// addresses torn into one, `1.2.35.6.7.8`, look like that.
fn is_name(token: &[u8]) -> bool {
    let name = token.strip_suffix(b".").unwrap_or(token);
    let Some(first) = name.first() else { return false };
    if token.len() > MAX_NAME || !(first.is_ascii_alphanumeric() || *first == b'_') {
        return false;
    }
    let (mut before, mut numeric) = (b'.', true);
    for &byte in name {
        match byte {
            b'.' if before == b'.' => return false,
            b'.' => numeric = true,
            b'0'..=b'9' => {}
            b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => numeric = false,
            _ => return false,
        }
        before = byte;
    }
    before != b'.' && !numeric
}

/// An IPv6 address, canonical or not, perhaps with a zone: `fe80::1%eth0`.
fn is_ipv6(token: &[u8]) -> bool {
    if token.len() > MAX_IPV6 + 1 + MAX_ZONE || !token.contains(&b':') {
        return false;
    }
    let Ok(text) = str::from_utf8(token) else {
        return false;
    };
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let is_zone = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=MAX_ZONE).contains(&zone.len()) && zone.bytes().all(is_zone) && address.parse::<Ipv6Addr>().is_ok()
}

/// The last of the elements of a header such as `X-Forwarded-For`: what the nearest proxy saw.
pub(super) fn last_element(header: &[u8]) -> Result<&[u8], Reason> {
    let last = header.rsplit(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
    if is_host(last) { Ok(last) } else { Err(Reason::Host) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_told_from_what_is_none() {
        for host in [
            "10.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "::1",
            "::",
            "2001:db8::1",
            "2001:DB8:0:0:0:0:0:1",
            "::ffff:10.0.0.1",
            "fe80::1%eth0",
            "localhost",
            "a",
            "web-1.example.com",
            "web_1",
            "_x",
            "example.com.",
            "xn--bcher-kva.example",
            "3com.com",
            "10.0.0.1.in-addr.arpa",
            "1.2.3.a4",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        let long = "a".repeat(254);
        for none in [
            "",
            "-",
            ".",
            "..",
            "a..b",
            ".a",
            "-a",
            "1.2.35.6.7.8",
            "256.0.0.1",
            "1.2.3",
            "1.2.3.4.",
            "01.2.3.4",
            "1234",
            "1.2.3.4:80",
            "a:80",
            ":::1",
            "1::2::3",
            "12345::",
            "::1%",
            "::1%a b",
            // Found by the fuzzer: a short address left room for a zone and the host of another record.
            "fe80::2%et-.0198.51.100.11",
            "[::1]",
            "b\u{fc}cher.de",
            "a b",
            "a/b",
            "a\"",
            "a\0",
            "%eth0",
            &long,
        ] {
            assert!(!is_host(none.as_bytes()), "{none}");
        }
    }

    #[test]
    fn the_last_colon_ends_a_host_before_its_port() {
        for (line, host) in
            [("a:80 x", "a"), ("::1:80 x", "::1"), ("[::1]:80", "[::1]"), ("1.2.3.4:-", "1.2.3.4")]
        {
            let mut rest = line.as_bytes();
            assert_eq!(before_port(&mut rest, false), Ok(host.as_bytes()));
            assert!(rest.starts_with(b":"));
        }
        assert_eq!(before_port(&mut &b"a 80"[..], false), Err(Reason::Host));
        assert_eq!(before_port(&mut &b"[::1]:80"[..], true), Err(Reason::Host));
    }

    #[test]
    fn the_nearest_proxy_wrote_the_last_element() {
        for (header, host) in [
            ("10.0.0.1", Ok("10.0.0.1")),
            ("unknown, 10.0.0.1,  ::1 ", Ok("::1")),
            ("10.0.0.1,", Err(Reason::Host)),
            ("-", Err(Reason::Host)),
            ("", Err(Reason::Host)),
            ("10.0.0.1 10.0.0.2", Err(Reason::Host)),
        ] {
            assert_eq!(last_element(header.as_bytes()), host.map(str::as_bytes), "{header}");
        }
    }

    proptest! {
        #[test]
        fn std_reads_the_same_ipv4(text in "[0-9]{1,3}(\\.[0-9]{1,3}){2,4}|[0-9.]{0,16}") {
            prop_assert_eq!(is_ipv4(text.as_bytes()), text.parse::<std::net::Ipv4Addr>().is_ok());
        }
    }
}
