//! LOGTOJSON: the fields of an Apache line, as Apache wrote them, by their names. Counts nothing.
//!
//! Lines are read by this program's parser, which knows hosts of IPv6, escaped quotes and empty fields, and failing
//! that by the shape that the agent looks for, so that whatever it converts is converted.

use std::sync::OnceLock;

use regex::bytes::Regex;
use serde_json::Value;

use super::{json::JsonFormat, pattern::Whole, without_newline};
use crate::engine::format::{COMMON_FIELDS, Event, FIELDS, LogFormat, StampCache};

/// `logFormat`, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApacheLog {
    /// `COMMONAPACHELOG`
    Common,
    /// `COMBINEDAPACHELOG`
    Combined,
}

/// How a log line becomes an object.
#[derive(Clone, Debug)]
pub struct LogToJson {
    lines: Lines,
    names: Vec<String>,
    format: JsonFormat,
}

#[derive(Clone, Debug)]
enum Lines {
    Apache(ApacheLog, LogFormat),
    Pattern(Whole),
}

impl ApacheLog {
    /// The names of the fields, in order.
    #[must_use]
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Common => FIELDS.split_at(COMMON_FIELDS).0,
            Self::Combined => &FIELDS,
        }
    }
}

impl LogToJson {
    /// Lines of `log`, their fields named as the agent does or by `names`; as many of them as there are fields.
    #[must_use]
    pub fn apache(log: ApacheLog, names: Option<Vec<String>>, format: JsonFormat) -> Option<Self> {
        let name = match log {
            ApacheLog::Common => "common",
            ApacheLog::Combined => "combined",
        };
        let own = || log.fields().iter().map(|&field| field.to_owned()).collect();
        let names = names.unwrap_or_else(own);
        let lines = Lines::Apache(log, LogFormat::named(name)?);
        (names.len() == log.fields().len()).then_some(Self { lines, names, format })
    }

    /// Lines that `pattern` matches; as many names as it has groups.
    #[must_use]
    pub fn pattern(pattern: Whole, names: Vec<String>, format: JsonFormat) -> Option<Self> {
        (names.len() == pattern.groups()).then_some(Self { lines: Lines::Pattern(pattern), names, format })
    }

    /// The object; nothing if the line is not what it should be.
    pub(super) fn convert(&self, record: &[u8], stamps: &mut StampCache) -> Option<Vec<u8>> {
        let line = without_newline(record);
        let values = match &self.lines {
            Lines::Apache(log, format) => {
                let mut values = match format.parse(line, stamps) {
                    Ok(event) => of_event(&event),
                    Err(_) => of_shape(*log, line)?,
                };
                values.truncate(self.names.len());
                values
            }
            Lines::Pattern(pattern) => pattern.read(line)?.into_iter().map(value).collect(),
        };
        let entries: Vec<(&str, Value)> = self.names.iter().map(String::as_str).zip(values).collect();
        Some(self.format.line(&entries))
    }
}

/// `-` is absent.
fn value(text: Option<&[u8]>) -> Value {
    match text {
        None | Some(b"-") => Value::Null,
        Some(text) => Value::String(String::from_utf8_lossy(text).into_owned()),
    }
}

pub(super) fn of_event(event: &Event<'_>) -> Vec<Value> {
    let raw = &event.raw;
    let response = event.response.map(|response| response.to_string());
    let texts = [
        raw.host,
        raw.ident,
        raw.authuser,
        raw.datetime,
        raw.request,
        response.as_deref().map(str::as_bytes),
        raw.bytes,
        raw.referer,
        raw.agent,
    ];
    texts.map(value).into()
}

/// The fields of a line that has the shape of an Apache line, whatever its fields hold.
pub(super) fn of_shape(log: ApacheLog, line: &[u8]) -> Option<Vec<Value>> {
    static SHAPES: OnceLock<Option<[Regex; 2]>> = OnceLock::new();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let [common, combined] = SHAPES.get_or_init(shapes).as_ref()?;
    let shape = match log {
        ApacheLog::Common => common,
        ApacheLog::Combined => combined,
    };
    let found = shape.captures(line)?;
    Some(found.iter().skip(1).map(|group| value(group.map(|group| group.as_bytes()))).collect())
}

/// What the agent looks for (`PatternConstants` of its source), in our words: a name, two words, a date, and texts
/// without a quote.
fn shapes() -> Option<[Regex; 2]> {
    let word = r"([\w.-]+)";
    let date = r"\[((?:0?[1-9]|[12]\d|3[01])/[A-Z][a-z]{2,8}/\d+:\d{1,2}:\d\d:\d[\d:.,]*\s[+-]?\d+)\]";
    let number = r"([+-]?\d+|-)";
    let quoted = r#""([^"]+)""#;
    let common = format!("^{word} {word} {word} {date} {quoted} {number} {number}");
    let build = |text: &str| regex::bytes::RegexBuilder::new(text).unicode(false).build().ok();
    Some([build(&common)?, build(&format!("{common} {quoted} {quoted}"))?])
}
