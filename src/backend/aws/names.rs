//! Names as CloudWatch takes them, and back. Two names stay two: nothing is replaced, everything is escaped.
//!
//! A dimension's value is 1 to 1,024 ASCII characters without controls, not blank, and blanks around it are trimmed
//! (`Dimension`). Ordinary names are left as they are; `%`, bytes outside of printable ASCII and blanks at either end
//! become `%` and two hexadecimal digits, and the empty name becomes `%`. A name that is too long then is cut, and
//! `%~` and the MD5 of the whole stand for the rest: `%~` is no escape, so that no short name can look like one.

use std::{borrow::Cow, fmt::Write as _};

use md5::{Digest, Md5};

use crate::engine::metric::Series;

/// The longest value of a dimension (`Dimension`).
const VALUE: usize = 1_024;
/// The longest name of a dimension or a metric (`Dimension`, `MetricDatum`).
const NAME: usize = 255;
/// Stands before the hash of what was cut.
const CUT: &str = "%~";
/// `%~` and 32 digits.
const CUT_LENGTH: usize = 34;

/// `series` as CloudWatch takes it.
pub(super) fn valid(series: &Series) -> Series {
    let dimension = |(name, value): &(String, String)| (escape(name, NAME), escape(value, VALUE));
    Series { name: escape(&series.name, NAME), dimensions: series.dimensions.iter().map(dimension).collect() }
}

/// What [`valid`] was given, except where it had to cut; the names of others as they are.
pub(super) fn original(series: &Series) -> Series {
    let text = |text: &String| unescape(text).into_owned();
    Series {
        name: text(&series.name),
        dimensions: series.dimensions.iter().map(|(name, value)| (text(name), text(value))).collect(),
    }
}

fn escape(text: &str, longest: usize) -> String {
    let last = text.len().saturating_sub(1);
    let mut escaped = String::with_capacity(text.len());
    let mut cut = 0;
    for (at, byte) in text.bytes().enumerate() {
        let edge = at == 0 || at == last;
        match byte {
            // A colon must not begin the name of a dimension or of a namespace.
            b':' if at == 0 => push_hex(&mut escaped, byte),
            b' ' if edge => push_hex(&mut escaped, byte),
            b' '..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            _ => push_hex(&mut escaped, byte),
        }
        if escaped.len() <= longest - CUT_LENGTH {
            cut = escaped.len();
        }
    }
    match escaped.len() {
        0 => "%".to_owned(),
        length if length <= longest => escaped,
        _ => {
            escaped.truncate(cut);
            escaped.push_str(CUT);
            for byte in Md5::digest(text.as_bytes()) {
                let _ = write!(escaped, "{byte:02x}");
            }
            escaped
        }
    }
}

fn push_hex(text: &mut String, byte: u8) {
    let _ = write!(text, "%{byte:02X}");
}

fn unescape(text: &str) -> Cow<'_, str> {
    if text == "%" {
        return Cow::Borrowed("");
    }
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return Cow::Borrowed(text);
        };
        bytes.push(byte);
        bytes.extend(part.bytes().skip(2));
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_stay_and_odd_ones_are_escaped() {
        for (name, escaped) in [
            ("Billing", "Billing"),
            ("a b:c~d \"e\"", "a b:c~d \"e\""),
            ("", "%"),
            (" ", "%20"),
            ("  ", "%20%20"),
            (" x ", "%20x%20"),
            ("50%", "50%25"),
            (":x", "%3Ax"),
            ("Größe", "Gr%C3%B6%C3%9Fe"),
            ("a\n\u{7f}", "a%0A%7F"),
        ] {
            assert_eq!(escape(name, VALUE), escaped, "{name:?}");
            assert_eq!(unescape(escaped), name);
        }
        for foreign in ["%zz", "%F", "100%", "%FF", "%~0", "%+1"] {
            assert_eq!(unescape(foreign), foreign, "what others wrote stays");
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let names =
            ["x".repeat(1_025), "x".repeat(1_026), "ä".repeat(342), "x".repeat(989) + "%%%%%%%%%%%%%"];
        for name in &names {
            let escaped = escape(name, VALUE);
            assert!((1_000..=VALUE).contains(&escaped.len()), "{escaped}");
            assert_eq!(escaped.len() - escaped.find(CUT).unwrap(), CUT_LENGTH);
            assert_ne!(escape(&escaped, VALUE), escaped, "a name that looks like a cut one is another");
        }
        assert_ne!(escape(&names[0], VALUE), escape(&names[1], VALUE));
        assert_eq!(escape(&"x".repeat(VALUE), VALUE), "x".repeat(VALUE));
        assert_eq!(escape(&"x".repeat(NAME + 1), NAME).len(), NAME);
    }

    fn is_valid(text: &str) -> bool {
        (1..=VALUE).contains(&text.len())
            && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            && text.trim() == text
            && !text.starts_with(':')
    }

    /// Texts of few characters, so that two are often nearly the same.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[ %~:2a5é\u{0}]{0,4}", ".{0,40}", "(%|é|a){330,345}", "[a%]{985,1030}"]
    }

    proptest! {
        #[test]
        fn every_name_becomes_valid(text in text()) {
            let escaped = escape(&text, VALUE);
            prop_assert!(is_valid(&escaped), "{escaped:?}");
            if !escaped.contains(CUT) {
                prop_assert_eq!(unescape(&escaped), text);
            }
        }

        #[test]
        fn two_names_stay_two(one in text(), other in text()) {
            let (first, second) = (escape(&one, VALUE), escape(&other, VALUE));
            prop_assert_eq!(one == other, first == second);
            // What is escaped is a name like any other.
            prop_assert_eq!(first == escape(&first, VALUE), !first.contains('%'));
        }
    }
}
