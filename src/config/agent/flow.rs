//! One flow: which files, into which stream, as what. Judges the values as the agent does, and opens no file.

use std::path::Path;

use md5::{Digest, Md5};
use serde_json::{Map, Value};

use super::{
    finding::{Finding, Verdict},
    keys::{self, FLOW},
    processing,
};
use crate::{
    config::Start,
    engine::agent::{Chain, pattern},
};

/// Files that the agent never reads, by name.
pub const EXCLUDED: [&str; 3] = ["*.[gG][zZ]", "*.[bB][zZ]2", "*.[zZ][iI][pP]"];

/// The longest terminator of a record that was cut, in bytes.
const MAX_TERMINATOR: usize = 1024;

/// `partitionKeyOption`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartitionKeyOption {
    /// `RANDOM`
    #[default]
    Random,
    /// `DETERMINISTIC`: the MD5 sum of the data.
    Deterministic,
}

/// A flow that can be served.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its number among all flows, from 1.
    pub number: usize,
    /// The file, and the flow in it: for messages.
    pub place: String,
    /// The files, as the agent's configuration writes them: wildcards in their names only.
    pub file_patterns: Vec<String>,
    /// The stream.
    pub kinesis_stream: String,
    /// How partition keys are made.
    pub partition_key_option: PartitionKeyOption,
    /// Where files that are there at the first start are read from.
    pub initial_position: Start,
    /// The longest that a record may wait, in milliseconds.
    pub max_buffer_age_ms: u64,
    /// The most records of one call.
    pub max_buffer_records: usize,
    /// The most bytes of one call.
    pub max_buffer_bytes: usize,
    /// How a record of several lines begins.
    pub multi_line_start: Option<pattern::Start>,
    /// Lines at the beginning of each file that are not sent.
    pub skip_header_lines: u64,
    /// What a record that was cut ends with.
    pub truncated_record_terminator: String,
    /// What is done with each record.
    pub processing: Chain,
    /// The names of [`Self::processing`], in order.
    pub processing_names: Vec<String>,
}

impl Flow {
    /// The flow, if it can be served, and what there is to say of it.
    pub(super) fn of(
        place: &str,
        number: usize,
        entries: &Map<String, Value>,
    ) -> (Option<Self>, Vec<Finding>) {
        let mut values =
            Values { place, entries, findings: keys::judge(place, &FLOW, entries), refused: false };
        values.refused = entries.contains_key("deliveryStream") || is_set(entries, "fileFooterPattern");
        let file_patterns = values.file_patterns();
        let kinesis_stream = if entries.contains_key("deliveryStream") { None } else { values.stream() };
        let options =
            [("RANDOM", PartitionKeyOption::Random), ("DETERMINISTIC", PartitionKeyOption::Deterministic)];
        let partition_key_option = values.choice("partitionKeyOption", &options).unwrap_or_default();
        let options = [("START_OF_FILE", Start::Beginning), ("END_OF_FILE", Start::End)];
        let initial_position = values.choice("initialPosition", &options).unwrap_or(Start::End);
        let max_buffer_age_ms = values.number("maxBufferAgeMillis", 60_000, (1_000, 900_000));
        let max_buffer_records = values.number("maxBufferSizeRecords", 500, (1, 500));
        let most_bytes = 5 * 1024 * 1024;
        let max_buffer_bytes = values.number("maxBufferSizeBytes", most_bytes, (1, most_bytes));
        let skip_header_lines = values.number("skipHeaderLines", 0, (0, u64::from(u32::MAX)));
        let multi_line_start = values.text("multiLineStartPattern").filter(|pattern| !pattern.is_empty());
        let multi_line_start = multi_line_start.and_then(|pattern| match pattern::Start::new(&pattern) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                values.refuse("multiLineStartPattern", Verdict::Unsupported, error.to_string());
                None
            }
        });
        let truncated_record_terminator = values.text("truncatedRecordTerminator").unwrap_or("\n".to_owned());
        if truncated_record_terminator.len() > MAX_TERMINATOR {
            let note = format!("it has more than {MAX_TERMINATOR} bytes");
            values.refuse("truncatedRecordTerminator", Verdict::Invalid, note);
        }
        let (processing, processing_names) = values.processing();
        let Values { findings, refused, .. } = values;
        let (false, Some(file_patterns), Some(kinesis_stream)) = (refused, file_patterns, kinesis_stream)
        else {
            return (None, findings);
        };
        let flow = Self {
            number,
            place: place.to_owned(),
            file_patterns,
            kinesis_stream,
            partition_key_option,
            initial_position,
            max_buffer_age_ms,
            max_buffer_records: usize::try_from(max_buffer_records).unwrap_or(usize::MAX),
            max_buffer_bytes: usize::try_from(max_buffer_bytes).unwrap_or(usize::MAX),
            multi_line_start,
            skip_header_lines,
            truncated_record_terminator,
            processing,
            processing_names,
        };
        (Some(flow), findings)
    }

    /// What tells it from other flows, also after a restart: the stream, and a sum of the patterns. A name for a
    /// directory.
    #[must_use]
    pub fn id(&self) -> String {
        let mut patterns = self.file_patterns.clone();
        patterns.sort();
        patterns.dedup();
        let sum: [u8; 16] = Md5::digest(patterns.join("\n").as_bytes()).into();
        let short = u64::from_be_bytes(sum.first_chunk().copied().unwrap_or_default());
        format!("{}-{short:016x}", self.kinesis_stream)
    }

    /// The files as patterns of this program, which knows wildcards in directories too.
    #[must_use]
    pub fn patterns(&self) -> Vec<String> {
        let pattern = |text: &String| match text.rsplit_once('/') {
            Some((directory, name)) => format!("{}/{name}", globset::escape(directory)),
            None => text.clone(),
        };
        self.file_patterns.iter().map(pattern).collect()
    }
}

fn is_set(entries: &Map<String, Value>, key: &str) -> bool {
    !matches!(entries.get(key), None | Some(Value::Null))
        && entries.get(key) != Some(&Value::String(String::new()))
}

/// The values of a flow, being read.
struct Values<'f> {
    place: &'f str,
    entries: &'f Map<String, Value>,
    findings: Vec<Finding>,
    /// The flow cannot be served.
    refused: bool,
}

impl Values<'_> {
    fn refuse(&mut self, key: &str, verdict: Verdict, note: impl Into<String>) {
        self.refused = true;
        self.findings.push(Finding::new(self.place, key, verdict, note));
    }

    /// A text; the agent also takes a number for one.
    fn text(&mut self, key: &str) -> Option<String> {
        match self.entries.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => {
                self.refuse(key, Verdict::Invalid, "it is no text");
                None
            }
        }
    }

    /// A number, which may also be written as a text.
    fn number(&mut self, key: &str, default: u64, (least, most): (u64, u64)) -> u64 {
        let Some(text) = self.text(key) else { return default };
        match text.trim().parse() {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                let shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
                self.refuse(
                    key,
                    Verdict::Invalid,
                    format!("\"{shown}\" is no number from {least} to {most}"),
                );
                default
            }
        }
    }

    fn choice<T: Copy>(&mut self, key: &str, options: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = options.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
            self.refuse(key, Verdict::Invalid, format!("write {}", names.join(" or ")));
        }
        found
    }

    fn stream(&mut self) -> Option<String> {
        let Some(stream) = self.text("kinesisStream") else {
            if !self.refused {
                self.refuse("", Verdict::Invalid, "it names no kinesisStream");
            }
            return None;
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if (1..=128).contains(&stream.len()) && stream.bytes().all(fits) {
            return Some(stream);
        }
        let note = "a stream's name has 1 to 128 letters, digits, \"_\", \".\" and \"-\"";
        self.refuse("kinesisStream", Verdict::Invalid, note);
        None
    }

    fn file_patterns(&mut self) -> Option<Vec<String>> {
        const KEY: &str = "filePattern";
        let patterns: Vec<String> = match self.entries.get(KEY) {
            Some(Value::String(pattern)) => vec![pattern.clone()],
            Some(Value::Array(patterns)) if !patterns.is_empty() && patterns.iter().all(Value::is_string) => {
                patterns.iter().filter_map(|pattern| pattern.as_str().map(str::to_owned)).collect()
            }
            _ => {
                self.refuse(KEY, Verdict::Invalid, "write a pattern, or a list of patterns");
                return None;
            }
        };
        for pattern in &patterns {
            let path = Path::new(pattern);
            let directory = path.parent().is_some_and(|directory| directory != Path::new(""));
            if !directory || pattern.ends_with('/') {
                let shown: String = pattern.chars().take(80).flat_map(char::escape_debug).collect();
                let note = format!("\"{shown}\" must name a directory and a file, as /var/log/app.log*");
                self.refuse(KEY, Verdict::Invalid, note);
                return None;
            }
        }
        Some(patterns)
    }

    fn processing(&mut self) -> (Chain, Vec<String>) {
        const KEY: &str = "dataProcessingOptions";
        let options = match self.entries.get(KEY) {
            None | Some(Value::Null) => return (Chain::default(), Vec::new()),
            Some(Value::Array(options)) => options,
            Some(_) => {
                self.refuse(KEY, Verdict::Invalid, "it is no list");
                return (Chain::default(), Vec::new());
            }
        };
        let (mut steps, mut names) = (Vec::new(), Vec::new());
        for (number, option) in (1..).zip(options) {
            let place = format!("{} {KEY} {number}", self.place);
            let Value::Object(option) = option else {
                self.refuse(KEY, Verdict::Invalid, format!("its entry {number} is no object"));
                continue;
            };
            let (step, findings) = processing::step(&place, option);
            self.refused |= step.is_none();
            self.findings.extend(findings);
            if let Some((name, step)) = step {
                steps.push(step);
                names.push(name);
            }
        }
        (Chain(steps), names)
    }
}
