//! A second grammar of the combined format, as plain as can be, that allocates as it likes: what the fast parser says
//! of a line must be what this one says. Shares no code with it, and none with this crate: `fuzz/` reads this file too.

use std::{cell::RefCell, collections::HashMap, net::IpAddr};

use chrono::DateTime;
use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{is_not, tag, take, take_while_m_n},
    character::complete::{anychar, digit1},
    combinator::{all_consuming, map_res, opt, recognize, rest, verify},
    multi::many0,
    sequence::{delimited, preceded, terminated},
};

/// What a line says: host, ident, user, seconds, request, status, bytes, referer, agent.
#[derive(Debug, PartialEq)]
pub(super) struct Record {
    pub(super) texts: [String; 6],
    pub(super) millis: i64,
    pub(super) status: Option<u16>,
    pub(super) bytes: u64,
}

type Parsed<'a, T> = IResult<&'a str, T>;

/// The combined format; `None` if `line` is none. Only for text: bytes beyond UTF-8 have tests of their own.
pub(super) fn plain(line: &str) -> Option<Record> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.chars().any(|c| (c < ' ' && c != '\t') || c == '\x7f') {
        return None;
    }
    all_consuming(record).parse(line).ok().map(|(_, record)| record)
}

fn record(line: &str) -> Parsed<'_, Record> {
    let (line, host) = terminated(verify(is_not(" "), is_host), tag(" ")).parse(line)?;
    let (line, ident) = terminated(verify(is_not(" "), |text: &str| bare(text)), tag(" ")).parse(line)?;
    let (line, user, millis) = user_and_time(line, ident)?;
    let (line, request) = preceded(tag(" "), quoted).parse(line)?;
    let (line, status) = preceded(tag(" "), status).parse(line)?;
    let (line, bytes) = preceded(tag(" "), number).parse(line)?;
    let (line, (referer, agent)) = (preceded(tag(" "), quoted), preceded(tag(" "), quoted)).parse(line)?;
    let (line, _) = opt(preceded(tag(" "), verify(rest, |text: &str| !has_stamp(text)))).parse(line)?;
    let texts = [host, ident, &user, request, referer, agent].map(str::to_owned);
    Ok((line, Record { texts, millis, status, bytes }))
}

fn is_host(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "x"));
    let zoned = text.contains('%');
    let address_ok = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => !zoned,
        Ok(IpAddr::V6(_)) => regex("^[A-Za-z0-9._-]{1,15}$", zone),
        Err(_) => false,
    };
    let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
    let name = regex(r"^[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*\.?$", text)
        && text.len() <= 253
        && !labels.next_back().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    address_ok || name
}

fn regex(pattern: &'static str, text: &str) -> bool {
    thread_local!(static COMPILED: RefCell<HashMap<&'static str, regex::Regex>> = RefCell::default());
    COMPILED.with_borrow_mut(|compiled| {
        let compiled = compiled.entry(pattern).or_insert_with(|| regex::Regex::new(pattern).unwrap());
        compiled.is_match(text)
    })
}

pub(super) fn has_stamp(text: &str) -> bool {
    regex(r"\[[0-9]{2}/[A-Za-z]{3}/[0-9]{4}:", text)
}

/// Holds no tab, and no quote but behind a backslash that is no escaped one.
fn bare(text: &str) -> bool {
    text == "\"\"" || regex(r#"^([^"\\\t]|\\[^\t]|\\$)*$"#, text)
}

/// The user goes up to the first ` [stamp] "`.
fn user_and_time<'a>(
    line: &'a str,
    ident: &str,
) -> Result<(&'a str, String, i64), nom::Err<nom::error::Error<&'a str>>> {
    let fail = || nom::Err::Error(nom::error::Error::new(line, nom::error::ErrorKind::Verify));
    let stamp = |text| {
        terminated(delimited(tag("["), stamp, tag("]")), tag::<_, &str, nom::error::Error<&str>>(" \""))
            .parse(text)
    };
    let found =
        line.match_indices(" [").find_map(|(at, _)| stamp(&line[at + 1..]).ok().map(|(_, time)| (at, time)));
    let (at, time) = found.ok_or_else(fail)?;
    let user = &line[..at];
    let words: Vec<&str> = user.split(' ').collect();
    let dotted = |word: &&str| word.trim_end_matches('.').contains('.') || word.contains(':');
    let one_user = words.len() > 1
        && ident == "-"
        && !user
            .match_indices('[')
            .any(|(at, _)| user[at + 1..].chars().next().is_none_or(|next| next.is_ascii_digit()))
        && !words.iter().any(|word| ["", "-"].contains(word))
        && !words[..words.len() - 2].iter().any(dotted);
    if !bare(user) || user.is_empty() || (words.len() > 1 && !one_user) {
        return Err(fail());
    }
    let user = if user == "\"\"" { "" } else { user };
    Ok((&line[at + 1 + 28..], user.to_owned(), time))
}

fn stamp(text: &str) -> Parsed<'_, i64> {
    let shape = r"^[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}(:[0-9]{2}){3} [+-][0-9]{4}$";
    let (after, text) = verify(take(26usize), |text: &str| regex(shape, text)).parse(text)?;
    let fail = || nom::Err::Error(nom::error::Error::new(after, nom::error::ErrorKind::Verify));
    // Chrono knows zones up to a day, and leap seconds at :60 as the last second's 1,000th millisecond.
    let time = DateTime::parse_from_str(text, "%d/%b/%Y:%H:%M:%S %z").map_err(|_| fail())?;
    Ok((after, time.timestamp_millis()))
}

fn quoted(line: &str) -> Parsed<'_, &str> {
    let inside = recognize(many0(alt((recognize(is_not("\"\\")), recognize(preceded(tag("\\"), anychar))))));
    let torn = |text: &&str| text.ends_with(' ') && has_stamp(text);
    delimited(tag("\""), verify(inside, move |text: &str| !torn(&text)), tag("\"")).parse(line)
}

fn status(line: &str) -> Parsed<'_, Option<u16>> {
    let digits =
        verify(take_while_m_n(3, 3, |c: char| c.is_ascii_digit()), |text: &str| !text.starts_with('0'));
    alt((tag("-").map(|_| None), digits.map(|text: &str| text.parse().ok()))).parse(line)
}

fn number(line: &str) -> Parsed<'_, u64> {
    alt((tag("-").map(|_| 0), map_res(digit1, str::parse))).parse(line)
}
