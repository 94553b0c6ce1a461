//! What `check --agent-config` and `convert` show of an Amazon Kinesis Agent's configuration. Moves nothing.

use std::{io::Write, path::Path};

use crate::{
    app::{
        Error, Exit, agent,
        output::Results,
        tools::{Finding, unmatched},
    },
    cli::ConvertArgs,
    config::{
        self, Start,
        agent::{AgentConfig, Flow, PartitionKeyOption, Verdict},
    },
    tail,
};

/// `logtally convert`
pub(super) fn convert(args: &ConvertArgs) -> Result<Exit, Error> {
    let agent = config::agent::load(&args.file)?;
    let mut out = Results::stdout();
    out.write_all(agent.to_toml().as_bytes())?;
    out.flush()?;
    Ok(if agent.flows.is_empty() { Exit::Config } else { Exit::Success })
}

/// Each flow, and each key that has no effect.
pub(super) fn check(file: &Path) -> Vec<Finding> {
    let agent = match config::agent::load(file) {
        Ok(agent) => agent,
        Err(error) => {
            let what = file.display().to_string();
            return vec![Finding { what, failure: Some(Exit::Config), detail: error.to_string() }];
        }
    };
    let mut findings = vec![count(&agent)];
    findings.extend(agent.flows.iter().map(flow));
    findings.extend(agent.findings.iter().map(|finding| {
        let key = if finding.key.is_empty() { String::new() } else { format!(" {}", finding.key) };
        Finding {
            what: format!("{}{key}", finding.place),
            failure: (finding.verdict != Verdict::Ignored).then_some(Exit::Config),
            detail: format!("{}: {}", finding.verdict.as_str(), finding.note),
        }
    }));
    findings
}

fn count(agent: &AgentConfig) -> Finding {
    let (served, all) = (agent.flows.len(), agent.all_flows);
    let detail = format!("{served} of {all} flows can be served");
    Finding {
        what: agent.file.display().to_string(),
        failure: (served < all || all == 0).then_some(Exit::Config),
        detail,
    }
}

/// What a flow's patterns find.
fn files(flow: &Flow) -> Result<String, tail::TailError> {
    let settings = agent::files(flow);
    let files = match tail::matches(&settings)?.len() {
        0 => return Ok("nothing there now".to_owned()),
        1 => "1 file now".to_owned(),
        files => format!("{files} files now"),
    };
    let unmatched = unmatched(&settings)?;
    Ok(if unmatched.is_empty() { files } else { format!("{files}, nothing for {}", unmatched.join(", ")) })
}

/// What a flow would read and send.
fn flow(flow: &Flow) -> Finding {
    let (failed, reads) = match files(flow) {
        Ok(files) => (false, files),
        Err(error) => (true, error.to_string()),
    };
    let from = match flow.initial_position {
        Start::Beginning => "from their beginnings",
        Start::End => "from their ends",
    };
    let mut record = if flow.multi_line_start.is_some() {
        "lines from one start to the next as a record".to_owned()
    } else {
        "each line as a record".to_owned()
    };
    if !flow.processing_names.is_empty() {
        record = format!("{record}, by {}", flow.processing_names.join(", "));
    }
    let key = match flow.partition_key_option {
        PartitionKeyOption::Deterministic => "the MD5 sum of the data",
        PartitionKeyOption::Random if agent::shape(flow).has_provenance() => {
            "where the bytes come from (logtally analyze recognises what is sent twice)"
        }
        PartitionKeyOption::Random => "random",
    };
    Finding {
        what: flow.place.clone(),
        failure: failed.then_some(Exit::Config),
        detail: format!(
            "{}: {reads}, {from}; to stream {}: {record}; partition key: {key}",
            flow.file_patterns.join(", "),
            flow.kinesis_stream
        ),
    }
}
