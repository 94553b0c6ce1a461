//! Signs that two records were torn into one line, and the verdict on a line that failed. Never on the fast path.

use memchr::memchr_iter;

use crate::engine::reason::{Malformed, Reason};

/// How much of a stamp tells it from other text: `[10/Oct/2000:`.
const HEAD: usize = 13;

/// Whether something in `text` looks like the stamp of a record.
#[cold]
#[inline(never)]
pub(super) fn holds_stamp(text: &[u8]) -> bool {
    memchr_iter(b'[', text).any(|at| is_head(text, at))
}

/// Whether the stamp of a record seems to begin at `at`.
fn is_head(text: &[u8], at: usize) -> bool {
    text.get(at..).and_then(<[u8]>::first_chunk::<HEAD>).is_some_and(|head| {
        let [b'[', d1, d2, b'/', m1, m2, m3, b'/', year @ .., b':'] = head else {
            return false;
        };
        [d1, d2].into_iter().chain(year).all(u8::is_ascii_digit)
            && [m1, m2, m3].iter().all(|m| m.is_ascii_alphabetic())
    })
}

/// Whether `text`, which may break off, holds the day and month of a stamp: `[10/Oct`.
fn holds_day(text: &[u8]) -> bool {
    memchr_iter(b'[', text).any(|at| {
        matches!(
            text.get(at..).and_then(<[u8]>::first_chunk::<7>),
            Some([b'[', b'0'..=b'9', b'0'..=b'9', b'/', m1, _, _]) if m1.is_ascii_uppercase()
        )
    })
}

/// Whether a user of several words is one user. `None`: yes.
///
/// A record cut before its request and followed by another one leaves `… host ident user [stamp]` where the user
/// stands: at least three words, of which the last two are the other record's identity and user (nearly always
/// `-`), and the one before ends in its host. So a user is not one if a word of it is `-`, if a bracket in it begins
/// what may be a stamp, or if a word other than the last two looks like an address or a name with a domain. What remains undetected is a record
/// whose host is a single label, which has both an identity and a user, behind one that has neither.
pub(super) fn user_of_words(user: &[u8]) -> Option<Reason> {
    let words = || user.rsplit(|&byte| byte == b' ');
    if words().any(|word| word == b"-") {
        return Some(Reason::Torn);
    }
    let begins_stamp = |at: usize| user.get(at + 1).is_none_or(u8::is_ascii_digit);
    if memchr_iter(b'[', user).any(begins_stamp) {
        return Some(if holds_day(user) { Reason::Torn } else { Reason::User });
    }
    if words().any(<[u8]>::is_empty) {
        return Some(Reason::User);
    }
    let hostlike = |word: &[u8]| {
        let inner = word.strip_suffix(b".").unwrap_or(word);
        inner.contains(&b'.') || inner.contains(&b':')
    };
    words().skip(2).any(hostlike).then_some(Reason::Torn)
}

/// The reason that tells most about a line that `reason` stopped `rest` bytes before its end.
#[cold]
#[inline(never)]
pub(super) fn verdict(line: &[u8], rest: usize, reason: Reason) -> Malformed {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Malformed { reason: Reason::Empty, column: 1 };
    }
    if let Some(at) = line.iter().position(|&byte| is_control(byte)) {
        return Malformed { reason: Reason::Binary, column: at + 1 };
    }
    let two_stamps = memchr_iter(b'[', line).filter(|&at| is_head(line, at)).nth(1).is_some();
    let reason = if two_stamps { Reason::Torn } else { reason };
    Malformed { reason, column: line.len().saturating_sub(rest) + 1 }
}

/// A byte that Apache writes only escaped; a tab may stand between fields.
pub(super) fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_several_words_are_told_from_torn_records() {
        for (user, reason) in [
            ("John Doe", None),
            ("Mary Ann Smith", None),
            ("Dr. Who", None),
            ("EXAMPLE\\\\john doe", None),
            ("john.doe smith", None),
            ("J. R. R. Tolkien", None),
            ("- -", Some(Reason::Torn)),
            ("- frank", Some(Reason::Torn)),
            ("10.0.0.2 - -", Some(Reason::Torn)),
            ("fra10.0.0.2 id bob", Some(Reason::Torn)),
            ("a.example.com id bob", Some(Reason::Torn)),
            ("::1 id bob", Some(Reason::Torn)),
            ("- [10/Oct/20005.6.7.8 - -", Some(Reason::Torn)),
            ("carol o [ops]", None),
            ("a [b] c", None),
            ("a [", Some(Reason::User)),
            ("a [1", Some(Reason::User)),
            ("a  b", Some(Reason::User)),
            (" a", Some(Reason::User)),
            ("a ", Some(Reason::User)),
        ] {
            assert_eq!(user_of_words(user.as_bytes()), reason, "{user}");
        }
    }

    #[test]
    fn only_a_stamp_looks_like_one() {
        assert!(holds_stamp(b"x [[10/Oct/2000:"));
        for text in
            ["[10/Oct/2000", "[10/Oct/2000 ", "[1a/Oct/2000:", "10/Oct/2000:13:55:36", "[10/0ct/2000:", ""]
        {
            assert!(!holds_stamp(text.as_bytes()), "{text}");
        }
    }
}
