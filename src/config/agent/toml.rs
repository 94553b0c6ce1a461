//! An agent's configuration as this program's own: TOML with comments for what that cannot say. Never a secret.

use std::fmt::Write;

use ::toml::Value;

use super::{AgentConfig, Flow, PartitionKeyOption, access, flow::EXCLUDED};
use crate::config::Start;

/// One document for each flow.
pub(super) fn documents(config: &AgentConfig) -> String {
    let mut text = String::new();
    let count = config.flows.len();
    for (number, flow) in (1..).zip(&config.flows) {
        if number > 1 {
            text.push('\n');
        }
        comment(&mut text, &format!("{} as logtally.toml, document {number} of {count}", flow.place));
        if number == 1 && count > 1 {
            comment(&mut text, "each document goes into a file of its own: one process serves one stream");
        }
        document(&mut text, config, flow);
    }
    let rest = config.all_flows - count;
    if rest > 0 {
        comment(&mut text, &format!("not served: {rest} of {} flows", config.all_flows));
    }
    for finding in &config.findings {
        comment(&mut text, &finding.to_string());
    }
    text
}

fn document(text: &mut String, config: &AgentConfig, flow: &Flow) {
    let texts = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
    let start = match flow.initial_position {
        Start::Beginning => "beginning",
        Start::End => "end",
    };
    let lines = [
        ("backend", Value::String("aws".to_owned())),
        ("stages", texts(vec!["produce".to_owned()])),
        ("[produce]", Value::Boolean(true)),
        ("files", texts(flow.patterns())),
        ("exclude", texts(EXCLUDED.map(str::to_owned).to_vec())),
        ("start", Value::String(start.to_owned())),
        ("[aws]", Value::Boolean(true)),
        ("input_stream", Value::String(flow.kinesis_stream.clone())),
    ];
    for (key, value) in lines {
        let line = if key.starts_with('[') { format!("\n{key}") } else { format!("{key} = {value}") };
        text.push_str(&line);
        text.push('\n');
    }
    for note in notes(config, flow) {
        comment(text, &note);
    }
}

/// What a document cannot say.
fn notes(config: &AgentConfig, flow: &Flow) -> Vec<String> {
    let mut notes = Vec::new();
    let access = &config.access;
    if let Some(region) = &access.region {
        notes.push(format!("region: set AWS_REGION={region}"));
    }
    if let Some(endpoint) = access.kinesis_endpoint.as_ref().filter(|_| access.region.is_none()) {
        let endpoint = access::shown(endpoint);
        notes.push(format!("kinesis.endpoint: set AWS_ENDPOINT_URL_KINESIS={endpoint}"));
    }
    if access.credentials.is_some() {
        notes.push("awsAccessKeyId, awsSecretAccessKey: put them into ~/.aws/credentials".to_owned());
    }
    if let Some(role) = &access.role {
        let id = access.external_id.as_ref().map(|id| format!(", external_id = {id}")).unwrap_or_default();
        notes.push(format!("assumeRoleARN: put it into a profile of ~/.aws/config (role_arn = {role}{id})"));
    }
    if !flow.processing_names.is_empty() {
        let names = flow.processing_names.join(", ");
        notes.push(format!("dataProcessingOptions {names}: lines are sent as they are, which analyze reads"));
    }
    if flow.partition_key_option == PartitionKeyOption::Deterministic {
        notes.push("partitionKeyOption DETERMINISTIC: partition keys say where lines come from".to_owned());
    }
    if flow.multi_line_start.is_some() {
        notes.push("multiLineStartPattern: a record holds whole lines, and the next may go on".to_owned());
    }
    if flow.skip_header_lines > 0 {
        let lines = flow.skip_header_lines;
        notes.push(format!("skipHeaderLines {lines}: headers are sent, and counted as malformed"));
    }
    if notes.len() > usize::from(access.region.is_some()) {
        notes.push("the agent's own file keeps all of it: logtally produce --agent-config".to_owned());
    }
    notes
}

/// A line that TOML passes over; nothing in `note` can end it.
fn comment(text: &mut String, note: &str) {
    let line: String = note.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // A text takes every write.
    let _ = writeln!(text, "# {line}");
}
