//! What the Amazon Kinesis Agent does with a record before it sends it: its `dataProcessingOptions`. Drops no record.
//!
//! Where the agent would drop a record, because its pattern does not match it, the record stays as it is. JSON objects
//! have their keys in the order of the agent; within `metadata`, in that of the alphabet.

mod apache;
mod csv;
mod json;
pub mod pattern;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use self::{
    apache::{ApacheLog, LogToJson},
    csv::CsvToJson,
    json::JsonFormat,
};
use crate::engine::{format::StampCache, time::Timestamp};

/// The processing of a flow: its steps, in order. Without one, records stay as they are.
#[derive(Clone, Debug, Default)]
pub struct Chain(pub Vec<Step>);

/// One of the `dataProcessingOptions`.
#[derive(Clone, Debug)]
pub enum Step {
    /// `LOGTOJSON`: the fields of a log line as an object.
    LogToJson(LogToJson),
    /// `CSVTOJSON`: the columns of a line as an object.
    CsvToJson(CsvToJson),
    /// `ADDMETADATA`: the record as a text beside fixed metadata.
    AddMetadata {
        /// The value of `metadata`.
        metadata: Value,
        /// Whether the time of processing goes before it, as `ts`.
        timestamp: bool,
        /// How the object is written.
        format: JsonFormat,
    },
    /// `SINGLELINE`: several lines as one.
    SingleLine {
        /// White space around each line goes; `NO_TRIM` keeps it.
        trim: bool,
        /// `ESCAPE_NEW_LINE`: `\\n` stands where lines were joined.
        escape: bool,
    },
    /// `ADDBRACKETS`: braces around the record.
    AddBrackets,
}

impl Chain {
    /// Whether records stay as they are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is sent of `record`, its newline included. The second is whether a step could not read it and left it.
    #[must_use]
    pub fn apply(&self, record: Vec<u8>, now: Timestamp, stamps: &mut StampCache) -> (Vec<u8>, bool) {
        let mut left = false;
        let data = self.0.iter().fold(record, |data, step| {
            let converted = match step {
                Step::LogToJson(step) => step.convert(&data, stamps),
                Step::CsvToJson(step) => Some(step.convert(&data)),
                Step::AddMetadata { metadata, timestamp, format } => {
                    let text = String::from_utf8_lossy(without_newline(&data)).into_owned();
                    let mut entries = vec![("metadata", metadata.clone()), ("data", Value::String(text))];
                    if *timestamp {
                        entries.insert(0, ("ts", Value::String(with_millis(now))));
                    }
                    Some(format.line(&entries))
                }
                Step::SingleLine { trim, escape } => Some(single_line(&data, *trim, *escape)),
                Step::AddBrackets => Some([b"{", data.as_slice(), b"}"].concat()),
            };
            left |= converted.is_none();
            converted.unwrap_or(data)
        });
        (data, left)
    }
}

/// A record without the newline at its end.
fn without_newline(record: &[u8]) -> &[u8] {
    record.strip_suffix(b"\n").unwrap_or(record)
}

/// As Java's `yyyy-MM-dd'T'HH:mm:ss.SSS'Z'` in UTC writes it.
fn with_millis(time: Timestamp) -> String {
    let text = time.to_string();
    let (seconds, _) = text.split_at_checked("2026-11-21T04:35:00".len()).unwrap_or((&text, ""));
    format!("{seconds}.{:03}Z", time.as_millis().rem_euclid(1_000))
}

/// The lines of `record` joined into one. Empty ones at its end go, as `String.split` of Java has it.
fn single_line(record: &[u8], trim: bool, escape: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(record);
    let lines = text.trim_end_matches('\n').split('\n');
    // Java's `trim` takes every character up to the space.
    let lines = lines.map(|line| if trim { line.trim_matches(|c| c <= ' ') } else { line });
    let joined = lines.collect::<Vec<_>>().join(if escape { r"\\n" } else { "" });
    (joined + "\n").into_bytes()
}
