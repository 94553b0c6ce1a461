//! One of the `dataProcessingOptions`: its step, or why there is none. Processes nothing.

use serde_json::{Map, Value};

use super::{
    finding::{Finding, Verdict},
    keys::{self, ADD_BRACKETS, ADD_METADATA, CSV_TO_JSON, LOG_TO_JSON, SINGLE_LINE},
};
use crate::{
    config::keys::nearest,
    engine::agent::{
        ApacheLog, CsvToJson, JsonFormat, LogToJson, Step,
        pattern::{Delimiter, Whole},
    },
};

/// The options that are done.
const SUPPORTED: [&str; 5] = ["LOGTOJSON", "CSVTOJSON", "ADDMETADATA", "SINGLELINE", "ADDBRACKETS"];

/// The options that are known and not done, and why.
const UNSUPPORTED: [(&str, &str); 2] = [
    ("ADDEC2METADATA", "metadata of the machine is not asked for: write it into ADDMETADATA"),
    ("USINGPLUGGIN", "no Java class is loaded"),
];

/// Why an option has no step.
type Refusal = (&'static str, Verdict, String);

/// A step with its name, if there is one, and what there is to say.
pub(super) fn step(place: &str, option: &Map<String, Value>) -> (Option<(String, Step)>, Vec<Finding>) {
    let name = option.get("optionName").and_then(Value::as_str).unwrap_or_default();
    let options = Options(option);
    let (keys, step): (&[_], _) = match name {
        "LOGTOJSON" => (&LOG_TO_JSON, options.log_to_json()),
        "CSVTOJSON" => (&CSV_TO_JSON, options.csv_to_json()),
        "ADDMETADATA" => (&ADD_METADATA, options.add_metadata()),
        "SINGLELINE" => (&SINGLE_LINE, options.single_line()),
        "ADDBRACKETS" => (&ADD_BRACKETS, Ok(Step::AddBrackets)),
        other => return (None, vec![unknown(place, other)]),
    };
    let mut findings = keys::judge(place, keys, option);
    match step {
        Ok(step) => (Some((options.described(name), step)), findings),
        Err((key, verdict, note)) => {
            findings.push(Finding::new(place, key, verdict, note));
            (None, findings)
        }
    }
}

fn unknown(place: &str, name: &str) -> Finding {
    if let Some((name, why)) = UNSUPPORTED.iter().find(|(known, _)| *known == name) {
        return Finding::new(place, &format!("optionName {name}"), Verdict::Unsupported, *why);
    }
    let note = match nearest(name, SUPPORTED.into_iter()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("write one of {}", SUPPORTED.join(", ")),
    };
    Finding::new(place, "optionName", Verdict::Invalid, note)
}

/// The keys of one option.
struct Options<'o>(&'o Map<String, Value>);

impl Options<'_> {
    /// For people: `LOGTOJSON COMBINEDAPACHELOG`.
    fn described(&self, name: &str) -> String {
        match self.0.get("logFormat").and_then(Value::as_str) {
            Some(format) => format!("{name} {format}"),
            None => name.to_owned(),
        }
    }

    fn log_to_json(&self) -> Result<Step, Refusal> {
        const FORMAT: &str = "logFormat";
        let log = match self.text(FORMAT)?.as_deref() {
            Some("COMMONAPACHELOG") => Some(ApacheLog::Common),
            Some("COMBINEDAPACHELOG") => Some(ApacheLog::Combined),
            Some("APACHEERRORLOG" | "SYSLOG" | "RFC3339SYSLOG") => None,
            _ => {
                let note = "write COMMONAPACHELOG or COMBINEDAPACHELOG".to_owned();
                return Err((FORMAT, Verdict::Invalid, note));
            }
        };
        let (names, format) = (self.names()?, self.format()?);
        let step = match (self.text("matchPattern")?, names, log) {
            (Some(pattern), Some(names), _) => {
                let pattern = Whole::new(&pattern)
                    .map_err(|error| ("matchPattern", Verdict::Unsupported, error.to_string()))?;
                let groups = pattern.groups();
                LogToJson::pattern(pattern, names, format).ok_or_else(|| fields("matchPattern", groups))?
            }
            (Some(_), None, _) => {
                let note = "matchPattern names no fields: write customFieldNames".to_owned();
                return Err(("customFieldNames", Verdict::Invalid, note));
            }
            (None, names, Some(log)) => {
                LogToJson::apache(log, names, format).ok_or_else(|| fields(FORMAT, log.fields().len()))?
            }
            (None, _, None) => {
                let note = "only Apache's access logs are converted: write a matchPattern".to_owned();
                return Err((FORMAT, Verdict::Unsupported, note));
            }
        };
        Ok(Step::LogToJson(step))
    }

    fn csv_to_json(&self) -> Result<Step, Refusal> {
        let names = self.names()?.ok_or_else(|| {
            ("customFieldNames", Verdict::Invalid, "it is missing: name the columns".to_owned())
        })?;
        let delimiter = self.text("delimiter")?.unwrap_or_else(|| ",".to_owned());
        let delimiter = Delimiter::new(&delimiter)
            .map_err(|error| ("delimiter", Verdict::Unsupported, error.to_string()))?;
        Ok(Step::CsvToJson(CsvToJson { names, delimiter, format: self.format()? }))
    }

    fn add_metadata(&self) -> Result<Step, Refusal> {
        let metadata = self.0.get("metadata").cloned().unwrap_or_default();
        let timestamp = match self.0.get("timestamp") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(timestamp)) => *timestamp,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
            Some(_) => return Err(("timestamp", Verdict::Invalid, "write \"true\" or \"false\"".to_owned())),
        };
        Ok(Step::AddMetadata { metadata, timestamp, format: self.format()? })
    }

    fn single_line(&self) -> Result<Step, Refusal> {
        const KEY: &str = "parseOptions";
        let options = self.texts(KEY)?.unwrap_or_default();
        if let Some(other) =
            options.iter().find(|option| !["NO_TRIM", "ESCAPE_NEW_LINE"].contains(&option.as_str()))
        {
            let shown: String = other.chars().take(40).flat_map(char::escape_debug).collect();
            return Err((KEY, Verdict::Invalid, format!("\"{shown}\": write NO_TRIM or ESCAPE_NEW_LINE")));
        }
        let has = |name: &str| options.iter().any(|option| option == name);
        Ok(Step::SingleLine { trim: !has("NO_TRIM"), escape: has("ESCAPE_NEW_LINE") })
    }

    fn format(&self) -> Result<JsonFormat, Refusal> {
        match self.text("jsonFormat")?.as_deref() {
            None | Some("COMPACT") => Ok(JsonFormat::Compact),
            Some("PRETTYPRINT") => Ok(JsonFormat::PrettyPrint),
            Some(_) => Err(("jsonFormat", Verdict::Invalid, "write COMPACT or PRETTYPRINT".to_owned())),
        }
    }

    fn names(&self) -> Result<Option<Vec<String>>, Refusal> {
        self.texts("customFieldNames")
    }

    fn text(&self, key: &'static str) -> Result<Option<String>, Refusal> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err((key, Verdict::Invalid, "it is no text".to_owned())),
        }
    }

    fn texts(&self, key: &'static str) -> Result<Option<Vec<String>>, Refusal> {
        let refused = || (key, Verdict::Invalid, "it is no list of texts".to_owned());
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(texts)) => {
                let texts: Option<Vec<String>> =
                    texts.iter().map(|text| text.as_str().map(str::to_owned)).collect();
                texts.map(Some).ok_or_else(refused)
            }
            Some(_) => Err(refused()),
        }
    }
}

fn fields(what: &str, count: usize) -> Refusal {
    ("customFieldNames", Verdict::Invalid, format!("{what} gives {count} fields: name as many"))
}
