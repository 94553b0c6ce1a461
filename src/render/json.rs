//! JSON lines: one object a line. Pretty-prints nothing.
//!
//! Beyond what JSON demands, C1 controls, DEL, invisible characters and `<` are written as `\u` escapes: the text is the
//! same to every parser, a terminal that shows it does nothing, and in a page it begins no element and ends no script.

use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::ser::Formatter;

use crate::render::{Cell, Column, Report, text::is_unsafe};

pub(super) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for row in report.cells() {
        write_line(out, &Object(row.collect()))?;
    }
    Ok(())
}

/// Writes `value` as one line of JSON.
///
/// # Errors
/// What `out` reports; a value that is no JSON (a map whose keys are no strings) is [`io::ErrorKind::InvalidData`].
pub fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, Escaping))?;
    out.write_all(b"\n")
}

/// Compact JSON in which nothing unsafe to show stays raw.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_escaped) {
            let (safe, tail) = rest.split_at(at);
            out.write_all(safe.as_bytes())?;
            let mut tail = tail.chars();
            if let Some(character) = tail.next() {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            rest = tail.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

fn is_escaped(character: char) -> bool {
    is_unsafe(character) || character == '<'
}

struct Object<'a>(Vec<(&'a Column, &'a Cell)>);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.0.len()))?;
        for (column, cell) in &self.0 {
            object.serialize_entry(column.name, cell)?;
        }
        object.end()
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Difference(count) => serializer.serialize_i64(*count),
            Self::Percent(value) | Self::Number(value) if value.is_finite() => {
                serializer.serialize_f64(*value)
            }
            Self::Time(time) => time.serialize(serializer),
            Self::Percent(_) | Self::Number(_) | Self::Empty => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Format, render, sample};

    #[test]
    fn one_object_a_line_with_null_for_nothing() {
        let mut out = Vec::new();
        render(&sample(), Format::Json, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        {"windowStart":"2026-11-21T04:55:00Z","applicationName":"Billing","requests":1432,"share":0.9728}
        {"windowStart":null,"applicationName":"=cmd|'/c calc'!A1","requests":0,"share":0.0}
        {"windowStart":null,"applicationName":"日本 \u001b[31m\u009bm \u202ea,\"b\"\n","requests":null,"share":null}
        {"windowStart":null,"applicationName":null,"requests":18446744073709551615,"share":null}
        "#);
    }

    #[test]
    fn a_parser_reads_back_exactly_what_was_written() {
        let hostile: String = (0..0x300).chain(0xe_0000..0xe_0080).filter_map(char::from_u32).collect();
        let mut out = Vec::new();
        write_line(&mut out, &hostile).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), hostile);
        assert!(!text.trim_end().chars().any(is_escaped));
    }
}
