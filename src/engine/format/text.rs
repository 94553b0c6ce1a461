//! Text fields: where they end, and what Apache escaped in them. Copies only what holds an escape.
//!
//! Source of the escapes: `ap_escape_logitem` of httpd 2.4, in use since 2.0.46.

use std::borrow::Cow;

use memchr::memchr;

use super::{step::End, torn};
use crate::engine::reason::Reason;

/// The text up to an unescaped quote, which stays in `rest`.
#[inline]
pub(super) fn quoted<'l>(rest: &mut &'l [u8]) -> Result<&'l [u8], Reason> {
    let mut length = special(rest).ok_or(Reason::Quote)?;
    if rest.get(length) != Some(&b'"') {
        length = escaped_quote(rest, length)?;
    }
    let (text, after) = ends_at(rest, Some(length))?;
    if text.last() == Some(&b' ') && torn::holds_stamp(text) {
        // The closing quote was the opening one of another record.
        return Err(Reason::Torn);
    }
    *rest = after;
    Ok(text)
}

/// The first unescaped quote, where something else that is special stands at `at` before it.
#[inline(never)]
fn escaped_quote(text: &[u8], mut at: usize) -> Result<usize, Reason> {
    loop {
        at += match text.get(at..) {
            Some([b'"', ..]) => return Ok(at),
            // A control byte is none the better for a backslash before it.
            Some([b'\\', b'"' | b'\\', ..]) => 2,
            Some([b'\\' | b'\t', ..]) => 1,
            Some([_, ..]) => return Err(Reason::Binary),
            Some([]) | None => return Err(Reason::Quote),
        };
        at += text.get(at..).and_then(special).ok_or(Reason::Quote)?;
    }
}

/// Bytes looked at together; compiles to a few vector instructions on any machine.
const BLOCK: usize = 32;

/// Where the first quote, backslash or control byte is.
#[inline]
fn special(text: &[u8]) -> Option<usize> {
    let (blocks, tail) = text.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        if let Some(at) = special_in(block) {
            return Some(index * BLOCK + at);
        }
    }
    match text.last_chunk::<BLOCK>() {
        // The last block overlaps the one before it, which holds none.
        Some(block) => special_in(block).map(|at| text.len() - BLOCK + at),
        None => tail.iter().position(|&byte| is_special(byte)),
    }
}

#[inline]
fn special_in(block: &[u8; BLOCK]) -> Option<usize> {
    if !block.iter().fold(false, |found, &byte| found | is_special(byte)) {
        return None;
    }
    let (words, _) = block.as_chunks::<8>();
    let marked =
        words.iter().map(|word| marks(u64::from_le_bytes(*word))).enumerate().find(|(_, marks)| *marks != 0);
    marked.map(|(index, marks)| index * 8 + marks.trailing_zeros() as usize / 8)
}

/// The highest bit of each special byte; above the first of them other bits may be set too.
#[inline]
fn marks(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, b' ') | is(b'"') | is(b'\\') | is(0x7f)) & (ONES << 7)
}

#[expect(
    clippy::needless_bitwise_bool,
    reason = "a lazy `or` keeps the loop over a block from being vectorised"
)]
#[inline]
fn is_special(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\') | (byte == 0x7f)
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
            (r"a\", Err(Reason::Quote)),
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
