//! `%u %t` together: a user may hold spaces, so only a valid stamp behind it says where it ends.

use memchr::{memchr, memchr_iter};

use super::{
    stamp::{STAMP, StampCache},
    text::unquoted,
    torn,
};
use crate::engine::{reason::Reason, time::Timestamp};

/// A user and the stamp behind it.
pub(super) struct UserStamp<'l> {
    pub(super) user: &'l [u8],
    pub(super) stamp: &'l [u8],
    pub(super) time: Timestamp,
}

/// A stamp in brackets at the front of `rest`: its text, its time, and what follows.
#[inline]
pub(super) fn bracketed<'l>(
    rest: &'l [u8],
    stamps: &mut StampCache,
) -> Option<(&'l [u8; STAMP], Timestamp, &'l [u8])> {
    let (stamp, after) = rest.strip_prefix(b"[")?.split_first_chunk::<STAMP>()?;
    Some((stamp, stamps.read(stamp)?, after.strip_prefix(b"]")?))
}

/// The user and the stamp at the front of `rest`, which is left at `then`, the literal behind them. A user of several
/// words is taken only if `words` allows it: no identity was told, so that no word can be one.
#[inline]
pub(super) fn user_stamp<'l>(
    rest: &mut &'l [u8],
    then: &[u8],
    words: bool,
    stamps: &mut StampCache,
) -> Result<UserStamp<'l>, Reason> {
    if let Some(after) = rest.strip_prefix(b"- ")
        && let Some((stamp, time, after)) = bracketed(after, stamps)
        && after.starts_with(then)
    {
        let user = rest.get(..1).unwrap_or_default();
        *rest = after;
        return Ok(UserStamp { user, stamp, time });
    }
    named(rest, then, words, stamps)
}

/// As [`user_stamp`], with a user that is not `-`.
#[inline(never)]
fn named<'l>(
    rest: &mut &'l [u8],
    then: &[u8],
    words: bool,
    stamps: &mut StampCache,
) -> Result<UserStamp<'l>, Reason> {
    let length = memchr(b' ', rest).ok_or(Reason::Truncated)?;
    let (user, tail) = rest.split_at(length);
    let behind = tail.strip_prefix(b" ").unwrap_or_default();
    if let Some((stamp, time, after)) = bracketed(behind, stamps)
        && after.starts_with(then)
        && !user.is_empty()
    {
        if user == b"\"\"" {
            *rest = after;
            return Ok(UserStamp { user: &[], stamp, time });
        }
        unquoted(user).map_err(|reason| if reason == Reason::Quote { Reason::User } else { reason })?;
        *rest = after;
        return Ok(UserStamp { user, stamp, time });
    }
    of_words(rest, behind, then, words, stamps)
}

/// As [`user_stamp`], with a user of several words; or why there is none. `behind` follows the first space.
#[cold]
fn of_words<'l>(
    rest: &mut &'l [u8],
    behind: &'l [u8],
    then: &[u8],
    words: bool,
    stamps: &mut StampCache,
) -> Result<UserStamp<'l>, Reason> {
    let line = *rest;
    for at in memchr_iter(b'[', line) {
        let (before, tail) = line.split_at(at);
        if let Some(user) = before.strip_suffix(b" ")
            && let Some((stamp, time, after)) = bracketed(tail, stamps)
            && after.starts_with(then)
        {
            if let Some(reason) = torn::user_of_words(user) {
                return Err(reason);
            }
            if !words || unquoted(user).is_err() {
                return Err(Reason::User);
            }
            *rest = after;
            return Ok(UserStamp { user, stamp, time });
        }
    }
    Err(no_stamp(rest, behind, then, stamps))
}

/// Why no stamp ends the user; leaves `rest` there.
fn no_stamp<'l>(rest: &mut &'l [u8], behind: &'l [u8], then: &[u8], stamps: &mut StampCache) -> Reason {
    if behind.first() != Some(&b'[') {
        let later = memchr_iter(b'[', behind).next().is_some();
        return if behind.is_empty() {
            Reason::Truncated
        } else if later {
            Reason::User
        } else {
            Reason::Time
        };
    }
    *rest = behind;
    match bracketed(behind, stamps) {
        Some((_, _, after)) => {
            *rest = after;
            if then.starts_with(after) { Reason::Truncated } else { Reason::Literal }
        }
        None if behind.len() < STAMP + 2 => Reason::Truncated,
        None => Reason::Time,
    }
}
