//! Lines of every kind against the truth. Measures nothing.

mod custom;
mod hostile;
mod oracle;
mod plain;
mod refused;
mod samples;
mod tears;

use super::*;
use crate::engine::reason::Reason;

/// A stamp, as often as one is needed.
const STAMP: &str = "[10/Oct/2000:13:55:36 -0700]";

fn combined() -> LogFormat {
    LogFormat::named("combined").unwrap()
}

fn parse<'l>(format: &LogFormat, line: &'l [u8]) -> Result<Event<'l>, Malformed> {
    format.parse(line, &mut StampCache::default())
}

/// The fields of a combined line as JSON, or reason and column.
fn fields(format: &LogFormat, line: impl AsRef<[u8]>) -> String {
    match parse(format, line.as_ref()) {
        Ok(event) => serde_json::to_string(&Fields::from(&event)).unwrap(),
        Err(Malformed { reason, column }) => format!("{} at {column}", reason.as_str()),
    }
}

fn reason(format: &LogFormat, line: impl AsRef<[u8]>) -> Option<Reason> {
    parse(format, line.as_ref()).err().map(|malformed| malformed.reason)
}

#[test]
fn a_format_is_shared_between_threads() {
    fn shared<T: Clone + Send + Sync + fmt::Debug>(_: &T) {}
    shared(&combined());
    insta::assert_snapshot!(format!("{:?}", LogFormat::named("common").unwrap()), @r#"LogFormat("%h %l %u %t \"%r\" %>s %b", ..)"#);
}
