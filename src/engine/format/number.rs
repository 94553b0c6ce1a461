//! Fields of digits: counts, statuses, durations. Allocates nothing, overflows nowhere.

use crate::engine::reason::Reason;

/// The decimal digits at the front of `rest` as a number; `None` if there are none or they do not fit 64 bits.
#[inline]
pub(super) fn digits(rest: &mut &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    let mut tail = *rest;
    while let Some((digit, after)) = tail.split_first()
        && digit.is_ascii_digit()
    {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        tail = after;
    }
    if tail.len() == rest.len() {
        return None;
    }
    *rest = tail;
    Some(value)
}

/// A number or `-`, as the text and its value (0 for `-`).
#[inline]
pub(super) fn number<'l>(rest: &mut &'l [u8]) -> Result<(&'l [u8], u64), Reason> {
    let start = *rest;
    let value = if let Some(after) = rest.strip_prefix(b"-") {
        *rest = after;
        0
    } else {
        digits(rest).ok_or(if start.is_empty() { Reason::Truncated } else { Reason::Number })?
    };
    let length = start.len() - rest.len();
    Ok((start.get(..length).unwrap_or_default(), value))
}

/// A number, `-`, or a negative number.
pub(super) fn duration(rest: &mut &[u8]) -> Result<(), Reason> {
    if let [b'-', after @ ..] = *rest
        && after.first().is_some_and(u8::is_ascii_digit)
    {
        *rest = after;
    }
    number(rest).map(|_| ())
}

/// A thread's id in hexadecimal, or `-`.
pub(super) fn hexadecimal(rest: &mut &[u8]) -> Result<(), Reason> {
    if let Some(after) = rest.strip_prefix(b"-") {
        *rest = after;
        return Ok(());
    }
    let tail = rest.strip_prefix(b"0x").unwrap_or(rest);
    let length = tail.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if length == 0 || length > 16 {
        return Err(if rest.is_empty() { Reason::Truncated } else { Reason::Number });
    }
    *rest = tail.get(length..).unwrap_or_default();
    Ok(())
}

/// The response status: three digits from 100 on, or `-`.
#[inline]
pub(super) fn status(rest: &mut &[u8]) -> Result<Option<u16>, Reason> {
    match **rest {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ref after @ ..] => {
            *rest = after;
            let digit = |byte: u8| u16::from(byte - b'0');
            Ok(Some(digit(a) * 100 + digit(b) * 10 + digit(c)))
        }
        [b'-', ref after @ ..] => {
            *rest = after;
            Ok(None)
        }
        [] => Err(Reason::Truncated),
        _ => Err(Reason::Response),
    }
}

/// `%X`: `X` aborted, `+` kept alive, `-` closed.
pub(super) fn connection(rest: &mut &[u8]) -> Result<(), Reason> {
    match **rest {
        [b'X' | b'+' | b'-', ref after @ ..] => {
            *rest = after;
            Ok(())
        }
        [] => Err(Reason::Truncated),
        _ => Err(Reason::Literal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_64_bits_or_are_refused() {
        for (text, expected) in [
            ("0 ", Ok(0)),
            ("- ", Ok(0)),
            ("18446744073709551615 ", Ok(u64::MAX)),
            ("18446744073709551616", Err(Reason::Number)),
            ("99999999999999999999999", Err(Reason::Number)),
            ("x", Err(Reason::Number)),
            ("", Err(Reason::Truncated)),
        ] {
            assert_eq!(number(&mut text.as_bytes()).map(|(_, value)| value), expected, "{text}");
        }
    }

    #[test]
    fn a_status_has_three_digits() {
        for (text, expected) in [
            ("200", Ok(Some(200))),
            ("999", Ok(Some(999))),
            ("-", Ok(None)),
            ("099", Err(Reason::Response)),
            ("20", Err(Reason::Response)),
            ("", Err(Reason::Truncated)),
        ] {
            assert_eq!(status(&mut text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_duration_may_be_negative_and_a_thread_hexadecimal() {
        for (text, rest) in [("-17 x", " x"), ("17", ""), ("-", "")] {
            let mut bytes = text.as_bytes();
            duration(&mut bytes).unwrap();
            assert_eq!(bytes, rest.as_bytes());
        }
        for (text, ok) in
            [("0x7f00", true), ("7f00", true), ("-", true), ("", false), ("0x", false), ("g", false)]
        {
            assert_eq!(hexadecimal(&mut text.as_bytes()).is_ok(), ok, "{text}");
        }
    }
}
