//! Regular expressions as a configuration of the agent writes them, for Java. Refuses what would mean something else.
//!
//! What the `regex` crate cannot do (lookaround, backreferences, possessive quantifiers) is refused. Classes such as
//! `\w` are ASCII, as they are by default in Java.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder, bytes};

/// How large a compiled pattern may become, in bytes.
const MAX_COMPILED: usize = 1024 * 1024;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{pattern}\" is no pattern that can be used here: {why}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it, on one line.
    pub why: Cow<'static, str>,
}

/// A pattern that lines begin with: `multiLineStartPattern`.
#[derive(Clone, Debug)]
pub struct Start(bytes::Regex);

/// A pattern of whole lines: `matchPattern`.
#[derive(Clone, Debug)]
pub struct Whole(bytes::Regex);

/// What stands between columns: `delimiter`.
#[derive(Clone, Debug)]
pub struct Delimiter(Regex);

impl Start {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// If it is none, or none that can be used.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        check(pattern)?;
        compile(pattern, &format!(r"\A(?:{pattern})")).map(Self)
    }

    /// Whether `line`, with or without its newline, begins so.
    #[must_use]
    pub fn begins(&self, line: &[u8]) -> bool {
        // To Java `$` is also before a newline at the end, and a pattern may name the newline.
        self.0.is_match(without_line_end(line)) || self.0.is_match(line)
    }
}

impl Whole {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// If it is none, or none that can be used.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        check(pattern)?;
        compile(pattern, &format!(r"\A(?:{pattern})\z")).map(Self)
    }

    /// How many groups it has.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.0.captures_len() - 1
    }

    /// What its groups match, if it matches the whole of `line`; a group may have no part in that.
    pub(super) fn read<'l>(&self, line: &'l [u8]) -> Option<Vec<Option<&'l [u8]>>> {
        let found = self.0.captures(without_line_end(line))?;
        Some(found.iter().skip(1).map(|group| group.map(|group| group.as_bytes())).collect())
    }
}

impl Delimiter {
    /// Compiles a delimiter, which the agent takes for a pattern too.
    ///
    /// # Errors
    /// If it is none, or none that can be used.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        check(pattern)?;
        let compiled = RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build();
        compiled.map(Self).map_err(|error| refused(pattern, &error))
    }

    /// The columns of `line`: empty ones at its end are left out, as `String.split` of Java has it.
    pub(super) fn split<'l>(&self, line: &'l str) -> Vec<&'l str> {
        let mut columns: Vec<&str> = self.0.split(line).collect();
        if columns.len() > 1 {
            while columns.last().is_some_and(|column| column.is_empty()) {
                columns.pop();
            }
        }
        columns
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn compile(pattern: &str, anchored: &str) -> Result<bytes::Regex, PatternError> {
    let build = |text: &str| bytes::RegexBuilder::new(text).unicode(false).size_limit(MAX_COMPILED).build();
    // By itself first, so that no bracket of it closes one of ours, and that the message shows what was written.
    build(pattern).and_then(|_| build(anchored)).map_err(|error| refused(pattern, &error))
}

fn refused(pattern: &str, error: &regex::Error) -> PatternError {
    let why = match error {
        regex::Error::CompiledTooBig(_) => Cow::Borrowed("it becomes too large"),
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            Cow::Owned(last.strip_prefix("error: ").unwrap_or(last).to_owned())
        }
    };
    PatternError { pattern: pattern.to_owned(), why }
}

/// Refuses what compiles but means something else in Java: a quantifier with `+` behind it takes all it can and gives
/// nothing back.
fn check(pattern: &str) -> Result<(), PatternError> {
    let (mut depth, mut quantified) = (0_u32, false);
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let was_quantified = std::mem::replace(&mut quantified, false);
        match character {
            '\\' => drop(characters.next()),
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '+' if was_quantified && depth == 0 => {
                let why =
                    Cow::Borrowed("possessive quantifiers, such as .*+, are not supported: take out the +");
                return Err(PatternError { pattern: pattern.to_owned(), why });
            }
            '*' | '+' | '?' | '}' if depth == 0 => quantified = true,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_looked_for_at_the_start() {
        let start = Start::new(r"\[\d+\]|^$|END\n").unwrap();
        for (line, begins) in [
            ("[1] x\n", true),
            ("x [1]\n", false),
            ("\n", true),
            ("\r\n", true),
            ("END\n", true),
            ("END", false),
        ] {
            assert_eq!(start.begins(line.as_bytes()), begins, "{line:?}");
        }
        assert!(Start::new("é").unwrap().begins("é".as_bytes()));
        assert!(!Start::new(r"\w").unwrap().begins("é".as_bytes()));
    }

    #[test]
    fn a_whole_pattern_leaves_nothing_out() {
        let whole = Whole::new(r"(\d+) (x)?(.*)").unwrap();
        assert_eq!(whole.groups(), 3);
        assert_eq!(whole.read(b"12 ab\r\n"), Some(vec![Some(&b"12"[..]), None, Some(b"ab")]));
        assert_eq!(whole.read(b"a12 ab"), None);
        assert_eq!(whole.read(b"12 a\nb"), None);
    }

    #[test]
    fn columns_are_split_as_java_splits_them() {
        for (delimiter, line, columns) in [
            (",", "a,b", &["a", "b"][..]),
            (",", ",a,,b,,", &["", "a", "", "b"]),
            (",", "", &[""]),
            (",", ",,", &[]),
            ("\\t", "a\tb", &["a", "b"]),
            ("\\|", "a|b", &["a", "b"]),
            (" +", "a  b", &["a", "b"]),
        ] {
            assert_eq!(Delimiter::new(delimiter).unwrap().split(line), columns, "{delimiter} {line}");
        }
    }

    #[test]
    fn what_java_alone_understands_is_refused_with_the_reason() {
        let refused = [r"(?=a)b", r"(a)\1", "a*+b", "x{2}+", "a(", "a)(b", r"\Qa\E", "a{1000}{1000}"]
            .map(|pattern| Start::new(pattern).unwrap_err().to_string());
        insta::assert_snapshot!(refused.join("\n"), @r#"
        "(?=a)b" is no pattern that can be used here: look-around, including look-ahead and look-behind, is not supported
        "(a)\1" is no pattern that can be used here: backreferences are not supported
        "a*+b" is no pattern that can be used here: possessive quantifiers, such as .*+, are not supported: take out the +
        "x{2}+" is no pattern that can be used here: possessive quantifiers, such as .*+, are not supported: take out the +
        "a(" is no pattern that can be used here: unclosed group
        "a)(b" is no pattern that can be used here: unopened group
        "\Qa\E" is no pattern that can be used here: unrecognized escape sequence
        "a{1000}{1000}" is no pattern that can be used here: it becomes too large
        "#);
        assert!(Start::new(r"[*+]\*+a+?").is_ok());
    }
}
