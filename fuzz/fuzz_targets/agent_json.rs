//! Any bytes as a configuration of the Amazon Kinesis Agent: judged or refused with one line, never a panic; and what
//! is served can be said in this program's own words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use logtally::config::{self, agent};

fuzz_target!(|text: &[u8]| {
    let agent = match agent::parse(text) {
        Ok(agent) => agent,
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with("agent.json") && !message.contains('\n'), "{message}");
            return;
        }
    };
    assert!(agent.flows.len() <= agent.all_flows.min(agent::MAX_FLOWS));
    let toml = agent.to_toml();
    let documents: Vec<&str> = toml.split("\n# agent.json flow").collect();
    let accepted = documents.iter().filter(|document| document.contains("input_stream = "));
    for document in accepted {
        let parsed = config::parse(document.trim_start_matches(|c| c != '\n'));
        assert!(parsed.is_ok(), "{parsed:?} of {document}");
    }
});
