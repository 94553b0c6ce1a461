//! The parser of Vector: `parse_apache_log` of the `vrl` crate, in a program that does nothing else, once a line.

use std::collections::BTreeMap;

use anyhow::Result;
use logtally_peers::{Parser, Tally, run};
use vrl::{
    compiler::{Context, Function, Program, TargetValue, TimeZone, state::RuntimeState},
    stdlib::ParseApacheLog,
    value::{Secrets, Value},
};

const PROGRAM: &str = r#"parse_apache_log!(.message, format: "combined")"#;

struct ByVrl {
    program: Program,
    state: RuntimeState,
}

impl Default for ByVrl {
    fn default() -> Self {
        let functions: [Box<dyn Function>; 1] = [Box::new(ParseApacheLog)];
        let compiled = vrl::compiler::compile(PROGRAM, &functions).expect("the program is one");
        Self { program: compiled.program, state: RuntimeState::default() }
    }
}

impl Parser for ByVrl {
    fn count(&mut self, line: &[u8], tally: &mut Tally<'_>) {
        let mut target = TargetValue {
            value: Value::Object(BTreeMap::from([("message".into(), Value::from(line))])),
            metadata: Value::Object(BTreeMap::new()),
            secrets: Secrets::default(),
        };
        let timezone = TimeZone::default();
        let fields = self.program.resolve(&mut Context::new(&mut target, &mut self.state, &timezone));
        let Ok(Value::Object(fields)) = fields else {
            return;
        };
        // Its expression takes spaces in users and quotes in requests, and so two lines torn into one.
        let torn = [("host", b' '), ("identity", b' '), ("user", b' '), ("message", b'"')];
        let text = |name: &str| fields.get(name).and_then(Value::as_bytes);
        if torn.into_iter().any(|(name, byte)| text(name).is_some_and(|text| text.contains(&byte))) {
            return;
        }
        if let (Some(host), Some(Value::Timestamp(time))) = (text("host"), fields.get("timestamp")) {
            tally.add(host, time.timestamp());
        }
    }
}

fn main() -> Result<()> {
    run::<ByVrl>()
}
