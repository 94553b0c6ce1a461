//! A second grammar of the combined format, as plain as can be, that allocates as it likes: what the fast parser says
//! of a line must be what this one says. Shares no code with it.

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
use proptest::{prelude::*, sample::Index};

use super::{
    samples::{Sample, sample},
    *,
};

/// What a line says: host, ident, user, seconds, request, status, bytes, referer, agent.
#[derive(Debug, PartialEq)]
struct Record {
    texts: [String; 6],
    millis: i64,
    status: Option<u16>,
    bytes: u64,
}

type Parsed<'a, T> = IResult<&'a str, T>;

/// The combined format; `None` if `line` is none. Only for text: bytes beyond UTF-8 have tests of their own.
fn plain(line: &str) -> Option<Record> {
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

fn has_stamp(text: &str) -> bool {
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
            .split('[')
            .skip(1)
            .any(|after| after.is_empty() || after.starts_with(|c: char| c.is_ascii_digit()))
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

/// The same from the parser under test.
fn fast(line: &str) -> Option<Record> {
    let format = combined();
    let event = parse(&format, line.as_bytes()).ok()?;
    let raw = event.raw;
    let text = |raw: Option<&[u8]>| String::from_utf8(raw.unwrap().to_vec()).unwrap();
    Some(Record {
        texts: [raw.host, raw.ident, raw.authuser, raw.request, raw.referer, raw.agent].map(text),
        millis: event.time.unwrap().as_millis(),
        status: event.response,
        bytes: event.bytes,
    })
}

/// One change to a line: a piece put in, bytes taken out, or the end cut off.
fn change() -> impl Strategy<Value = (Index, usize, &'static str)> {
    let piece = proptest::sample::select(
        &[
            "",
            " ",
            "\"",
            "\\",
            "[",
            "]",
            "-",
            " - ",
            "\0",
            "\t",
            "\r",
            ":",
            "1",
            "x",
            ".",
            "[10/Oct/2000:",
            "\u{e9}",
            "\" \"",
            "99999999999",
        ][..],
    );
    (any::<Index>(), prop_oneof![3 => 0..3_usize, 1 => 0..40_usize], piece)
}

fn changed(line: &str, changes: &[(Index, usize, &str)]) -> String {
    changes.iter().fold(line.to_owned(), |mut line, (at, taken, piece)| {
        let mut from = at.index(line.len() + 1);
        let mut to = (from + taken).min(line.len());
        while !line.is_char_boundary(from) {
            from -= 1;
        }
        while !line.is_char_boundary(to) {
            to += 1;
        }
        line.replace_range(from..to, piece);
        line
    })
}

/// Whether a record is one whose text looks torn, which a real one does once in a blue moon.
fn looks_torn(sample: &Sample) -> bool {
    [&sample.request, &sample.referer, &sample.agent]
        .iter()
        .any(|text| text.ends_with(' ') && has_stamp(text))
        || sample.user.contains("\"\"")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_printed_is_read_back(sample in sample()) {
        prop_assume!(!looks_torn(&sample));
        let line = sample.combined();
        let record = fast(&line).expect("a record that Apache prints is read");
        let Sample { host, ident, user, request, referer, agent, .. } = sample.clone();
        prop_assert_eq!(&record.texts, &[host, ident, user, request, referer, agent]);
        prop_assert_eq!(record.status.map_or("-".to_owned(), |status| status.to_string()), sample.status);
        prop_assert_eq!(record.bytes, sample.bytes.parse().unwrap_or(0));
    }

    #[test]
    fn the_plain_grammar_says_the_same(sample in sample(), changes in prop::collection::vec(change(), 0..4)) {
        let line = changed(&sample.combined(), &changes);
        prop_assert_eq!(fast(&line), plain(&line), "{:?}", line);
    }
}

#[test]
fn the_plain_grammar_reads_a_line() {
    let line = r#"10.0.0.1 - Jane Doe [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 5 "-" "curl" 17"#;
    assert_eq!(plain(line).unwrap().texts[2], "Jane Doe");
    assert_eq!(plain(line), fast(line));
}
