//! The text of an alarm rule → [`Rule`], and back. Evaluates nothing.

use std::{fmt, str::FromStr};

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case, take_while1},
    character::complete::{char, digit1, none_of, one_of, space0, space1},
    combinator::{all_consuming, map, map_opt, opt, recognize, value},
    error::{ErrorKind, ParseError},
    multi::many1,
    sequence::{delimited, preceded, terminated},
};
use serde::{Deserialize, Serialize};

/// The most windows that one evaluation looks at: N of `M of N`.
pub const MAX_WINDOWS: u8 = 100;

/// The longest application name in a rule, in characters: what a metric's dimension can hold.
pub const MAX_NAME: usize = 1024;

/// When an alarm goes off: the requests of an application in a window compared with a threshold.
///
/// ```text
/// Unknown > 100
/// Billing >= 5000
/// * > 10000                  each application by itself
/// "My App" < 1 for 2 of 3    in two of the last three windows
/// ```
///
/// ```
/// use logtally::engine::alarm::Rule;
/// let rule: Rule = "Unknown > 100 2 of 3".parse()?;
/// assert!(rule.breaches(101) && !rule.breaches(100));
/// assert_eq!(rule.to_string(), "Unknown > 100 for 2 of 3");
/// # Ok::<(), logtally::engine::alarm::RuleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    target: Target,
    comparison: Comparison,
    threshold: u64,
    needed: u8,
    windows: u8,
}

/// Whose requests a rule looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One application, by its exact name.
    Application(String),
    /// `*`: every application, each by itself.
    Each,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Rule {
    /// Whose requests the rule looks at.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether `value` is what the rule warns of.
    #[must_use]
    pub fn breaches(&self, value: u64) -> bool {
        match self.comparison {
            Comparison::Greater => value > self.threshold,
            Comparison::GreaterOrEqual => value >= self.threshold,
            Comparison::Less => value < self.threshold,
            Comparison::LessOrEqual => value <= self.threshold,
        }
    }

    /// M: so many of [`Self::windows`] must breach.
    #[must_use]
    pub fn needed(&self) -> usize {
        usize::from(self.needed)
    }

    /// N: so many datapoints are judged at a time.
    #[must_use]
    pub fn windows(&self) -> usize {
        usize::from(self.windows)
    }

    /// The one of two values that is further on the breaching side.
    #[must_use]
    pub fn worse(&self, left: u64, right: u64) -> u64 {
        match self.comparison {
            Comparison::Greater | Comparison::GreaterOrEqual => left.max(right),
            Comparison::Less | Comparison::LessOrEqual => left.min(right),
        }
    }

    /// Comparison and threshold, `> 100`.
    pub(super) fn condition(&self) -> impl fmt::Display {
        format!("{} {}", self.comparison.as_str(), self.threshold)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.target, self.condition())?;
        if self.windows > 1 {
            write!(f, " for {} of {}", self.needed, self.windows)?;
        }
        Ok(())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each => f.write_str("*"),
            Self::Application(name) if name.chars().all(is_bare) => f.write_str(name),
            Self::Application(name) => {
                write!(f, "\"{}\"", name.replace('\\', r"\\").replace('"', "\\\""))
            }
        }
    }
}

impl Comparison {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }
}

/// What is wrong with the text of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "alarm rule {rule:?}, column {column}: expected {expected}, found {found}; \
     a rule reads like: Unknown > 100 for 2 of 3"
)]
pub struct RuleError {
    /// The text.
    pub rule: String,
    /// Where, in characters from 1.
    pub column: usize,
    /// What could stand there.
    pub expected: &'static str,
    /// What stands there.
    pub found: String,
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let parsed = all_consuming(rule).parse(text);
        let wrong = match parsed {
            Ok((_, rule)) => return Ok(rule),
            Err(nom::Err::Error(wrong) | nom::Err::Failure(wrong)) => wrong,
            Err(nom::Err::Incomplete(_)) => Wrong { rest: "", expected: END },
        };
        let parsed = text.strip_suffix(wrong.rest).unwrap_or_default();
        Err(RuleError {
            rule: abridged(text, 80),
            column: parsed.chars().count() + 1,
            expected: wrong.expected,
            found: found(wrong.rest),
        })
    }
}

impl TryFrom<String> for Rule {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, RuleError> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

const END: &str = "the end, or `for M of N`";
const NAME: &str = "an application name (in double quotes unless it is one word), or *";

/// A failure of the grammar: what was left, and what was expected there.
#[derive(Debug)]
struct Wrong<'a> {
    rest: &'a str,
    expected: &'static str,
}

impl<'a> ParseError<&'a str> for Wrong<'a> {
    fn from_error_kind(rest: &'a str, _: ErrorKind) -> Self {
        // What `expect` does not name is left over behind a whole rule.
        Self { rest, expected: END }
    }

    fn append(_: &'a str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Parsed<'a, T> = IResult<&'a str, T, Wrong<'a>>;

/// Names what `parser` expects, at the place where it starts.
fn expect<'a, T>(
    expected: &'static str,
    mut parser: impl Parser<&'a str, Output = T, Error = Wrong<'a>>,
) -> impl FnMut(&'a str) -> Parsed<'a, T> {
    move |rest| parser.parse(rest).map_err(|_| nom::Err::Failure(Wrong { rest, expected }))
}

fn rule(text: &str) -> Parsed<'_, Rule> {
    let (rest, target) = preceded(space0, expect(NAME, target)).parse(text)?;
    let (rest, comparison) = preceded(space0, expect("one of > >= < <=", comparison)).parse(rest)?;
    let (rest, threshold) =
        preceded(space0, expect("a threshold from 0 to 18446744073709551615", number::<u64>)).parse(rest)?;
    let (rest, (needed, windows)) =
        terminated(map(opt(share), |share| share.unwrap_or((1, 1))), space0).parse(rest)?;
    let rule = Rule { target, comparison, threshold, needed, windows };
    Ok((rest, rule))
}

fn target(text: &str) -> Parsed<'_, Target> {
    let bare = map(take_while1(is_bare), str::to_owned);
    alt((value(Target::Each, char('*')), map(map_opt(alt((quoted, bare)), named), Target::Application)))
        .parse(text)
}

fn quoted(text: &str) -> Parsed<'_, String> {
    let character = alt((preceded(char('\\'), one_of("\"\\")), none_of("\"\\")));
    let name = map(many1(character), |characters| characters.into_iter().collect());
    delimited(char('"'), name, char('"')).parse(text)
}

fn named(name: String) -> Option<String> {
    let fits = name.chars().nth(MAX_NAME).is_none() && !name.chars().any(char::is_control);
    fits.then_some(name)
}

fn comparison(text: &str) -> Parsed<'_, Comparison> {
    alt((
        value(Comparison::GreaterOrEqual, tag(">=")),
        value(Comparison::Greater, tag(">")),
        value(Comparison::LessOrEqual, tag("<=")),
        value(Comparison::Less, tag("<")),
    ))
    .parse(text)
}

/// ` for M of N` or ` M of N`: M from 1 to N, N from 1 to [`MAX_WINDOWS`].
fn share(text: &str) -> Parsed<'_, (u8, u8)> {
    let mut begin = preceded(space1, opt(terminated(tag_no_case("for"), space1)));
    let (rest, with_for) = begin.parse(text)?;
    if with_for.is_none() && !rest.starts_with(|first: char| first.is_ascii_digit()) {
        // Only trailing space: not ours to refuse.
        return Ok((text, (1, 1)));
    }
    let count = || map_opt(number::<u8>, |count| (1..=MAX_WINDOWS).contains(&count).then_some(count));
    let (after, needed) = expect("a number of windows from 1 to 100", count()).parse(rest)?;
    let of = delimited(space1, tag_no_case("of"), space1);
    let (after, _) = expect("` of N`", recognize(of)).parse(after)?;
    let (after, windows) = expect("a number of windows from 1 to 100", count()).parse(after)?;
    if needed > windows {
        let expected = "M of N with M not over N";
        return Err(nom::Err::Failure(Wrong { rest, expected }));
    }
    Ok((after, (needed, windows)))
}

fn number<T: FromStr>(text: &str) -> Parsed<'_, T> {
    map_opt(digit1, |digits: &str| digits.parse().ok()).parse(text)
}

fn is_bare(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_.:/-".contains(character)
}

/// The next word, quoted and of bounded length.
fn found(rest: &str) -> String {
    match rest.split_whitespace().next() {
        Some(word) => format!("{:?}", abridged(word, 20)),
        None => "the end".to_owned(),
    }
}

fn abridged(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
