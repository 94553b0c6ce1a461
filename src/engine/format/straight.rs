//! Lines of the common and the combined format by their marks, the fastest way there is. Takes only what is plain:
//! whatever is odd about a line, from an escape to an empty quote, is left to the steps of `run`, which read it whole.
//!
//! What is taken here is what `run` takes, as the same request; a test and a fuzz target hold it to that.

use super::{
    host,
    stamp::{STAMP, StampCache},
    step::{Client, Field, Program, Time},
};
use crate::engine::{host_cache::HOST_BYTES, time::Timestamp};

/// What is counted of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request<'l> {
    /// The calling host as the log spells it.
    pub(crate) client: &'l [u8],
    /// The same and what follows it, where the text goes on so far.
    pub(crate) wide: Option<&'l [u8; HOST_BYTES]>,
    /// When the request was received; `None` only where the format holds no time.
    pub(crate) time: Option<Timestamp>,
    /// The response status; `None` for `-`, or where the format holds none.
    pub(crate) response: Option<u16>,
    /// The size of the response; 0 for `-`, or where the format holds none.
    pub(crate) bytes: u64,
}

/// A format whose lines can be read so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Straight {
    Common,
    Combined,
}

/// The marks of a common line: two quotes and the newline.
pub(crate) const COMMON_MARKS: usize = 3;
/// The marks of a combined line: six quotes and the newline.
pub(crate) const COMBINED_MARKS: usize = 7;

impl Straight {
    pub(super) fn of(program: &Program) -> Option<Self> {
        let plain = program.lead.is_empty() && program.time == Time::Stamp && program.client == Client::Host;
        match &*program.steps {
            [step] if plain => match step.field {
                Field::Combined { agents: false } => step.then.is_empty().then_some(Self::Common),
                Field::Combined { agents: true } => (*step.then == *b"\"").then_some(Self::Combined),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Whether `client`, which [`common`] or [`combined`] found, is a host at all: they do not look.
pub(crate) fn is_client(client: &[u8]) -> bool {
    host::is_host(client)
}

/// Reads the common line in `text` that begins at `at` and has `marks`.
#[inline]
pub(crate) fn common<'t>(
    text: &'t [u8],
    at: usize,
    marks: &[u32; COMMON_MARKS],
    stamps: &mut StampCache,
) -> Option<Request<'t>> {
    let [request, request_end, end] = marks.map(|mark| mark as usize);
    let (client, time) = head(text.get(at..request)?, stamps)?;
    let wide = text.get(at..)?.first_chunk();
    let whole = is_quoted(text.get(request..=request_end)?) && text.get(end) == Some(&b'\n');
    let (response, bytes) = numbers(text, request_end + 1, end)?;
    whole.then_some(Request { client, wide, time: Some(time), response: Some(response), bytes })
}

/// Reads the combined line in `text` that begins at `at` and has `marks`.
#[inline]
pub(crate) fn combined<'t>(
    text: &'t [u8],
    at: usize,
    marks: &[u32; COMBINED_MARKS],
    stamps: &mut StampCache,
) -> Option<Request<'t>> {
    let [request, request_end, referer, referer_end, _, agent_end, end] = marks.map(|mark| mark as usize);
    let (client, time) = head(text.get(at..request)?, stamps)?;
    let wide = text.get(at..)?.first_chunk();
    let (response, bytes) = numbers(text, request_end + 1, referer - 1)?;
    let [b' ', referer @ ..] = text.get(referer - 1..=referer_end)? else { return None };
    let [b' ', agent @ ..] = text.get(referer_end + 1..=agent_end)? else { return None };
    // Every quote is a mark: that of the agent stands where it must if there is one at all.
    let whole = is_quoted(text.get(request..=request_end)?) && is_quoted(referer) && is_quoted(agent);
    let ends = end == agent_end + 1 && text.get(end) == Some(&b'\n');
    (whole && ends).then_some(Request { client, wide, time: Some(time), response: Some(response), bytes })
}

/// `host - user [stamp] `: the host, which may still be anything, and the time.
#[inline]
fn head<'t>(text: &'t [u8], stamps: &mut StampCache) -> Option<(&'t [u8], Timestamp)> {
    let (callers, stamp) = text.split_last_chunk::<{ STAMP + 3 }>()?;
    let [b'[', stamp @ .., b']', b' '] = stamp else { return None };
    let client = match callers {
        [client @ .., b' ', b'-', b' ', b'-', b' '] => client,
        [named @ .., b' '] => client_of(named)?,
        _ => return None,
    };
    Some((client, stamps.read(stamp)?))
}

/// The host of `host - user`, with a user of one word.
fn client_of(named: &[u8]) -> Option<&[u8]> {
    let space = named.iter().rposition(|&byte| byte == b' ')?;
    let (before, user) = named.split_at(space);
    (user.len() > 1).then(|| before.strip_suffix(b" -")).flatten()
}

/// Whether `text` stands in quotes; a blank at its end may be a sign of a torn line, nothing in it a trap.
#[inline]
fn is_quoted(text: &[u8]) -> bool {
    matches!(text, [b'"', .., last, b'"'] if *last != b' ')
}

/// ` 200 1234`, from `from` to `end`: the status and the size of a response.
#[inline]
fn numbers(text: &[u8], from: usize, end: usize) -> Option<(u16, u64)> {
    let [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', size @ ..] = text.get(from..end)?
    else {
        return None;
    };
    let digit = |byte: u8| u16::from(byte - b'0');
    let status = digit(*a) * 100 + digit(*b) * 10 + digit(*c);
    let word = text.get(..end)?.last_chunk::<8>()?;
    if *size == [b'-'] { Some((status, 0)) } else { Some((status, last_digits(*word, size.len())?)) }
}

const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// The number that the last `length` bytes of `word` write; `None` if they are no digits, or not 1 to 8 of them.
#[inline]
fn last_digits(word: [u8; 8], length: usize) -> Option<u64> {
    let others = 64_u32.checked_sub(u32::try_from(length).ok()? * 8)?;
    // What stands before the digits becomes zeros; a whole word of zeros is no number.
    let mask = u64::MAX.checked_shl(others)?;
    let digits = u64::from_le_bytes(word) & mask | ZEROS & !mask;
    let high = digits & 0xf0f0_f0f0_f0f0_f0f0;
    let over_nine = digits.wrapping_add(0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0;
    if high != ZEROS || over_nine != ZEROS {
        return None;
    }
    // Neighbours together: bytes to pairs, pairs to fours, fours to eight.
    let values = digits - ZEROS;
    let pairs = (values * 10 + (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_are_read_from_the_end_of_a_word() {
        for (word, length, number) in [
            (b"x 1 1234", 4, Some(1_234)),
            (b"12345678", 8, Some(12_345_678)),
            (b"00000000", 8, Some(0)),
            (b"99999999", 8, Some(99_999_999)),
            (b"/:/:/:/7", 1, Some(7)),
            (b"0000000:", 1, None),
            (b"0000000/", 8, None),
            (b"1234567x", 8, None),
            (b"x2345678", 8, None),
            (b"12345678", 0, None),
            (b"12345678", 9, None),
        ] {
            assert_eq!(last_digits(*word, length), number, "{word:?} {length}");
        }
    }

    proptest! {
        #[test]
        fn any_number_of_eight_digits_is_read(number in 0..100_000_000_u64, before: [u8; 8]) {
            let text = [&before[..], number.to_string().as_bytes()].concat();
            let length = text.len() - before.len();
            prop_assert_eq!(last_digits(*text.last_chunk().unwrap(), length), Some(number));
        }
    }
}
