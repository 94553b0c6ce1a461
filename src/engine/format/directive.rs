//! The grammar of Apache's LogFormat strings: text in, tokens out. Gives no directive a meaning: `compile` does.
//!
//! Source: <https://httpd.apache.org/docs/2.4/mod/mod_log_config.html#formats>, and `parse_log_item` of httpd 2.4,
//! which takes modifiers in any order.

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take_till, take_till1},
    character::complete::{anychar, digit1, one_of},
    combinator::value,
    error::{ErrorKind, ParseError},
    sequence::preceded,
};

use super::error::FormatError;

/// A piece of a format string, and the byte (from 1) where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) position: usize,
    pub(super) piece: Piece,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes that stand in each line as they are.
    Literal(Vec<u8>),
    Directive(Directive),
}

/// What follows a `%`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: Name,
    /// The text between braces.
    pub(super) argument: Option<String>,
    /// `%<s`: of the original request; `%>s`: of the final one; neither: the directive's own default.
    pub(super) original: Option<bool>,
}

/// The letters of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// `%h`
    One(char),
    /// `%^ti`
    Caret(char, char),
}

/// Reads a whole format string. Adjacent literals come out as one token; there is no empty literal.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FormatError> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let position = text.len() - rest.len() + 1;
        let (after, piece) = piece(rest).map_err(|err| fault(text, rest, &err))?;
        rest = after;
        if let (Piece::Literal(more), Some(last)) = (&piece, tokens.last_mut())
            && let Piece::Literal(bytes) = &mut last.piece
        {
            bytes.extend_from_slice(more);
            continue;
        }
        tokens.push(Token { position, piece });
    }
    Ok(tokens)
}

/// Where and why the grammar does not go on.
#[derive(Debug)]
struct Fault<'a> {
    at: &'a str,
    reason: Option<&'static str>,
}

impl<'a> ParseError<&'a str> for Fault<'a> {
    fn from_error_kind(at: &'a str, _: ErrorKind) -> Self {
        Self { at, reason: None }
    }

    fn append(_: &'a str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Parsed<'a, T> = IResult<&'a str, T, Fault<'a>>;

fn fault(text: &str, rest: &str, err: &nom::Err<Fault<'_>>) -> FormatError {
    let (at, reason) = match err {
        nom::Err::Failure(Fault { at, reason }) | nom::Err::Error(Fault { at, reason }) => (*at, *reason),
        nom::Err::Incomplete(_) => (rest, None),
    };
    FormatError::new(text.len() - at.len() + 1, reason.unwrap_or("this is no log format"))
}

fn piece(input: &str) -> Parsed<'_, Piece> {
    alt((percent, escape, plain)).parse(input)
}

fn plain(input: &str) -> Parsed<'_, Piece> {
    take_till1(|c| c == '%' || c == '\\')
        .map(|text: &str| Piece::Literal(text.as_bytes().to_vec()))
        .parse(input)
}

/// `\"` as the configuration file needs it, the rest as `mod_log_config` takes it; any other backslash is itself.
fn escape(input: &str) -> Parsed<'_, Piece> {
    preceded(
        tag("\\"),
        alt((
            value(&b"\""[..], tag("\"")),
            value(&b"\\"[..], tag("\\")),
            value(&b"\t"[..], tag("t")),
            value(&b"\n"[..], tag("n")),
            value(&b"\r"[..], tag("r")),
            value(&b"\\"[..], tag("")),
        )),
    )
    .map(|bytes| Piece::Literal(bytes.to_vec()))
    .parse(input)
}

fn percent(input: &str) -> Parsed<'_, Piece> {
    preceded(tag("%"), alt((value(Piece::Literal(b"%".to_vec()), tag("%")), directive.map(Piece::Directive))))
        .parse(input)
}

#[derive(Clone)]
enum Modifier<'a> {
    Argument(&'a str),
    Original(bool),
    Condition,
}

fn directive(input: &str) -> Parsed<'_, Directive> {
    let (mut argument, mut original) = (None, None);
    let mut rest = input;
    while let Some(next) = optional(modifier(rest))? {
        rest = next.0;
        match next.1 {
            Modifier::Argument(text) => argument = Some(text.to_owned()),
            Modifier::Original(flag) => original = Some(flag),
            Modifier::Condition => {}
        }
    }
    let (rest, name) = name(rest)?;
    Ok((rest, Directive { name, argument, original }))
}

/// An ordinary error of nom as `None`, so that only a failure stops.
fn optional<T>(result: Parsed<'_, T>) -> Result<Option<(&str, T)>, nom::Err<Fault<'_>>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(nom::Err::Error(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn modifier(input: &str) -> Parsed<'_, Modifier<'_>> {
    alt((
        argument.map(Modifier::Argument),
        value(Modifier::Original(true), tag("<")),
        value(Modifier::Original(false), tag(">")),
        value(Modifier::Condition, one_of("!,")),
        value(Modifier::Condition, digit1),
    ))
    .parse(input)
}

fn argument(input: &str) -> Parsed<'_, &str> {
    let (rest, text) = preceded(tag("{"), take_till(|c| c == '}')).parse(input)?;
    match rest.strip_prefix('}') {
        Some(rest) => Ok((rest, text)),
        None => fail(input, "this { is never closed by a }"),
    }
}

fn name(input: &str) -> Parsed<'_, Name> {
    let stands_alone = "a directive's letter is missing here; a percent sign itself is %%";
    let (rest, first) = or_fail(anychar(input), input, stands_alone)?;
    if first != '^' {
        return Ok((rest, Name::One(first)));
    }
    let two = (anychar, anychar).parse(rest);
    let (rest, (first, second)) = or_fail(two, input, "%^ is followed by two letters, as in %{Name}^ti")?;
    Ok((rest, Name::Caret(first, second)))
}

fn or_fail<'a, T>(result: Parsed<'a, T>, at: &'a str, reason: &'static str) -> Parsed<'a, T> {
    result.or_else(|_| fail(at, reason))
}

fn fail<'a, T>(at: &'a str, reason: &'static str) -> Parsed<'a, T> {
    Err(nom::Err::Failure(Fault { at, reason: Some(reason) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(position: usize, text: &str) -> Token {
        Token { position, piece: Piece::Literal(text.into()) }
    }

    fn one(position: usize, name: char, argument: Option<&str>, original: Option<bool>) -> Token {
        let argument = argument.map(str::to_owned);
        let directive = Directive { name: Name::One(name), argument, original };
        Token { position, piece: Piece::Directive(directive) }
    }

    #[test]
    fn modifiers_come_in_any_order_and_literals_join() {
        assert_eq!(
            tokens(r#"%%\"a\\\t%!200,304{Referer}i\q%{Referer}>i%<s"#).unwrap(),
            [
                literal(1, "%\"a\\\t"),
                one(10, 'i', Some("Referer"), None),
                literal(29, "\\q"),
                one(31, 'i', Some("Referer"), Some(false)),
                one(43, 's', None, Some(true)),
            ]
        );
        assert_eq!(tokens("").unwrap(), []);
    }

    #[test]
    fn what_does_not_go_on_is_named_with_its_byte() {
        insta::assert_snapshot!(tokens("%h %{Referer").unwrap_err(), @"log format, byte 5: this { is never closed by a }");
        insta::assert_snapshot!(tokens("%h %").unwrap_err(), @"log format, byte 5: a directive's letter is missing here; a percent sign itself is %%");
        insta::assert_snapshot!(tokens("%^t").unwrap_err(), @"log format, byte 2: %^ is followed by two letters, as in %{Name}^ti");
    }
}
