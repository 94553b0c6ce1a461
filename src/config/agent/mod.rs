//! The configuration of the Amazon Kinesis Agent, `agent.json` and `agent.d/*.json`: read and judged. Serves no flow.
//!
//! [`load`] is the way in. What cannot be served is a [`Finding`] and no error, so that the other flows go on; only a main
//! file that is no JSON object is an error. Keys and defaults are those of the agent's source (`AgentConfiguration`,
//! `FileFlow`, `KinesisFileFlow`).

mod access;
mod document;
mod finding;
mod flow;
mod keys;
mod processing;
#[cfg(test)]
mod tests;
mod toml;

use std::path::{Path, PathBuf};

use serde_json::Value;

pub use access::{Access, Hidden};
pub use finding::{Finding, Verdict};
pub use flow::{EXCLUDED, Flow, PartitionKeyOption};

use self::{document::Document, keys::GENERAL};
use crate::config::ConfigError;

/// The most flows that are served; each is a producer with a thread and a position of its own.
pub const MAX_FLOWS: usize = 128;

/// The directory beside the main file whose files add flows.
const DIRECTORY: &str = "agent.d";

/// What an agent is told.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The main file.
    pub file: PathBuf,
    /// The flows that can be served.
    pub flows: Vec<Flow>,
    /// How many flows there are, served or not.
    pub all_flows: usize,
    /// How it gets at AWS.
    pub access: Access,
    /// What there is to say, in the order of the files.
    pub findings: Vec<Finding>,
    /// The files as they were read, to see whether they changed.
    documents: Vec<Document>,
}

/// Two are equal if their files say the same.
impl PartialEq for AgentConfig {
    fn eq(&self, other: &Self) -> bool {
        self.documents == other.documents
    }
}

impl AgentConfig {
    /// The equivalent in this program's own configuration: a document for each flow, what it cannot say as comments.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::documents(self)
    }
}

/// Reads `file`, and the flows of every `*.json` in `agent.d` beside it, in the order of their names.
///
/// # Errors
/// If `file` cannot be read, or is no JSON object.
pub fn load(file: &Path) -> Result<AgentConfig, ConfigError> {
    let mut config = AgentConfig::of(Document::read(file)?, file);
    for path in document::beside(file, DIRECTORY)? {
        match Document::read(&path) {
            Ok(document) => config.documents.push(document),
            // The agent passes over such a file; its flows are then served by nobody.
            Err(error) => {
                let (place, text) = (path.display().to_string(), error.to_string());
                let note = text.strip_prefix(&place).unwrap_or(&text).trim_start();
                config.findings.push(Finding::new(&place, "", Verdict::Invalid, note));
            }
        }
    }
    Ok(config.judged())
}

/// Reads a main file out of its text, without any beside it.
///
/// # Errors
/// If the text is no JSON object; the message names the line.
pub fn parse(text: &[u8]) -> Result<AgentConfig, ConfigError> {
    let document = Document::parse("agent.json", text)?;
    Ok(AgentConfig::of(document, Path::new("agent.json")).judged())
}

impl AgentConfig {
    fn of(main: Document, file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            flows: Vec::new(),
            all_flows: 0,
            access: Access::default(),
            findings: Vec::new(),
            documents: vec![main],
        }
    }

    fn judged(mut self) -> Self {
        for (index, document) in self.documents.clone().iter().enumerate() {
            if index == 0 {
                self.general(document);
            } else {
                self.only_flows(document);
            }
            self.flows_of(document);
        }
        self.without_twins();
        self
    }

    fn general(&mut self, document: &Document) {
        self.findings.extend(keys::judge(document.place(), &GENERAL, &document.entries));
        self.access = Access::of(document, &mut self.findings);
    }

    /// A file of `agent.d` says nothing but flows; the agent passes over the rest.
    fn only_flows(&mut self, document: &Document) {
        for key in document.entries.keys().filter(|key| *key != "flows") {
            let note = "only flows are read from this directory: write it into the main file".to_owned();
            self.findings.push(Finding::new(document.place(), key, Verdict::Ignored, note));
        }
    }

    fn flows_of(&mut self, document: &Document) {
        let flows = match document.entries.get("flows") {
            Some(Value::Array(flows)) => flows.as_slice(),
            None => &[],
            Some(_) => {
                let note = "it is no list".to_owned();
                self.findings.push(Finding::new(document.place(), "flows", Verdict::Invalid, note));
                &[]
            }
        };
        for flow in flows {
            self.all_flows += 1;
            let place = format!("{} flow {}", document.place(), self.all_flows);
            let Value::Object(entries) = flow else {
                let note = "it is no object".to_owned();
                self.findings.push(Finding::new(&place, "", Verdict::Invalid, note));
                continue;
            };
            let (flow, findings) = Flow::of(&place, self.all_flows, entries);
            self.findings.extend(findings);
            self.flows.extend(flow);
        }
    }

    /// Two flows of the same files to the same stream would send every line twice, and share one position.
    fn without_twins(&mut self) {
        let mut served: Vec<Flow> = Vec::new();
        for flow in std::mem::take(&mut self.flows) {
            match served.iter().find(|other| other.id() == flow.id()) {
                Some(other) => {
                    let note =
                        format!("it reads the same files into the same stream as flow {}", other.number);
                    self.findings.push(Finding::new(&flow.place, "filePattern", Verdict::Invalid, note));
                }
                None => served.push(flow),
            }
        }
        for flow in served.drain(MAX_FLOWS.min(served.len())..) {
            let note = format!("there are more than {MAX_FLOWS} flows: serve the rest with another process");
            self.findings.push(Finding::new(&flow.place, "", Verdict::Invalid, note));
        }
        self.flows = served;
    }
}
