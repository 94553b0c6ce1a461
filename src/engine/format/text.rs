//! Text fields: where they end, and what Apache escaped in them. Copies only what holds an escape.
//!
//! Source of the escapes: `ap_escape_logitem` of httpd 2.4, in use since 2.0.46.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::{step::End, torn};
use crate::engine::reason::Reason;

/// The text up to an unescaped quote, which stays in `rest`.
#[inline]
pub(super) fn quoted<'l>(rest: &mut &'l [u8]) -> Result<&'l [u8], Reason> {
    let length = memchr2(b'"', b'\\', rest);
    let length = match length.and_then(|at| rest.get(at)) {
        Some(b'"') => length,
        _ => escaped_quote(rest, length),
    };
    let Ok((text, after)) = ends_at(rest, length) else {
        return Err(Reason::Quote);
    };
    if text.last() == Some(&b' ') && torn::holds_stamp(text) {
        // The closing quote was the opening one of another record.
        return Err(Reason::Torn);
    }
    *rest = after;
    Ok(text)
}

/// The first quote at or behind `from`, a backslash, that is not escaped.
#[inline(never)]
fn escaped_quote(text: &[u8], from: Option<usize>) -> Option<usize> {
    let mut at = from?;
    loop {
        // Behind a backslash and what it escapes.
        let tail = text.get(at + 2..)?;
        at = at + 2 + memchr2(b'"', b'\\', tail)?;
        if text.get(at) == Some(&b'"') {
            return Some(at);
        }
    }
}

/// The text up to `end`, which stays in `rest`; it may hold none of `never`, and outside quotes nothing that Apache
/// would have escaped.
pub(super) fn text<'l>(rest: &mut &'l [u8], end: End, never: &[u8]) -> Result<&'l [u8], Reason> {
    let (text, after) = match end {
        End::Quote => (quoted(rest)?, *rest),
        End::Byte(byte) => bare(rest, memchr(byte, rest))?,
        End::Line => bare(rest, Some(rest.len()))?,
    };
    if text.iter().any(|byte| never.contains(byte)) {
        return Err(Reason::Literal);
    }
    *rest = after;
    Ok(text)
}

fn bare(rest: &[u8], length: Option<usize>) -> Result<(&[u8], &[u8]), Reason> {
    let (text, after) = ends_at(rest, length)?;
    if text != b"\"\"" {
        unquoted(text)?;
    }
    Ok((text, after))
}

/// Refuses control bytes and bare quotes, which Apache never writes into a field.
pub(super) fn unquoted(text: &[u8]) -> Result<(), Reason> {
    let mut escaped = false;
    for &byte in text {
        match byte {
            0..b' ' | 0x7f => return Err(Reason::Binary),
            b'"' if !escaped => return Err(Reason::Quote),
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    Ok(())
}

/// Cuts `rest` at `length`; a field whose end was not found is truncated.
#[inline]
pub(super) fn ends_at(rest: &[u8], length: Option<usize>) -> Result<(&[u8], &[u8]), Reason> {
    length.and_then(|length| rest.split_at_checked(length)).ok_or(Reason::Truncated)
}

/// Takes `literal` off the front of `rest`; if something else stands there, that is `otherwise`.
#[inline]
pub(super) fn literal(rest: &mut &[u8], literal: &[u8], otherwise: Reason) -> Result<(), Reason> {
    if let Some(after) = rest.strip_prefix(literal) {
        *rest = after;
        return Ok(());
    }
    Err(if literal.starts_with(rest) { Reason::Truncated } else { otherwise })
}

/// The bytes of a field as they were before Apache escaped them: `\"`, `\\`, `\xhh`, `\n`, `\t`, `\r`, `\b`, `\v`.
/// A backslash before anything else is itself. Borrows what holds no escape.
///
/// ```
/// use logtally::engine::format::unescape;
/// assert_eq!(&*unescape(br#"a\"b\x41\\"#), br#"a"bA\"#);
/// ```
#[must_use]
pub fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (byte, after) = escaped(escape);
        out.push(byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// The byte that the escape at the front of `text` stands for, and what follows.
fn escaped(text: &[u8]) -> (u8, &[u8]) {
    match *text {
        [_, byte @ (b'"' | b'\\'), ref after @ ..] => (byte, after),
        [_, b'n', ref after @ ..] => (b'\n', after),
        [_, b't', ref after @ ..] => (b'\t', after),
        [_, b'r', ref after @ ..] => (b'\r', after),
        [_, b'b', ref after @ ..] => (0x08, after),
        [_, b'v', ref after @ ..] => (0x0b, after),
        [_, b'x', high, low, ref after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            (nibble(high) << 4 | nibble(low), after)
        }
        [_, ref after @ ..] => (b'\\', after),
        [] => (b'\\', text),
    }
}

/// The value of a hexadecimal digit.
fn nibble(digit: u8) -> u8 {
    (digit & 0x0f) + if digit.is_ascii_digit() { 0 } else { 9 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `ap_escape_logitem`, plainly.
    fn escape(bytes: &[u8]) -> Vec<u8> {
        bytes
            .iter()
            .flat_map(|&byte| match byte {
                b'"' => br#"\""#.to_vec(),
                b'\\' => br"\\".to_vec(),
                b'\n' => br"\n".to_vec(),
                b'\t' => br"\t".to_vec(),
                b'\r' => br"\r".to_vec(),
                0x08 => br"\b".to_vec(),
                0x0b => br"\v".to_vec(),
                0..b' ' | 0x7f..=0xff => format!("\\x{byte:02x}").into_bytes(),
                _ => vec![byte],
            })
            .collect()
    }

    #[test]
    fn the_first_unescaped_quote_ends_a_field() {
        for (line, text) in [
            (r#"a" b"#, Ok("a")),
            (r#"" b"#, Ok("")),
            (r#"a\"b" c"#, Ok(r#"a\"b"#)),
            (r#"a\\" c"#, Ok(r"a\\")),
            (r#"\\\"\\" c"#, Ok(r#"\\\"\\"#)),
            (r#"a\"#, Err(Reason::Quote)),
            (r#"a\""#, Err(Reason::Quote)),
            ("", Err(Reason::Quote)),
        ] {
            assert_eq!(quoted(&mut line.as_bytes()), text.map(str::as_bytes), "{line}");
        }
    }

    #[test]
    fn an_unknown_escape_is_itself() {
        for raw in [r"\q", r"\x4", r"\xg1", r"\", r"a\", r"\x"] {
            assert_eq!(&*unescape(raw.as_bytes()), raw.as_bytes(), "{raw}");
        }
        assert!(matches!(unescape(b"plain"), Cow::Borrowed(b"plain")));
    }

    proptest! {
        #[test]
        fn what_apache_escapes_comes_back(bytes: Vec<u8>, behind: Vec<u8>) {
            let raw = escape(&bytes);
            prop_assert_eq!(&*unescape(&raw), &*bytes);
            let line = [&raw, &b"\""[..], &behind].concat();
            let mut rest = &line[..];
            prop_assert_eq!(quoted(&mut rest), Ok(&raw[..]));
            prop_assert_eq!(rest.len(), behind.len() + 1);
        }
    }
}
