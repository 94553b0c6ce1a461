//! A plain loop on the `regex` crate: one expression that says what a valid line is (`benches/README.md`), once a line.

use anyhow::Result;
use chrono::NaiveDateTime;
use logtally_peers::{Parser, Tally, run};
use regex::bytes::{CaptureLocations, Regex};

/// Bytes of a stamp that name its minute: `21/Nov/2026:04:35`.
const MINUTE: usize = 17;

/// Anchored, and without a choice that needs looking back, so that the crate's fastest engine with groups can take it.
const LINE: &str = concat!(
    r"(?-u)^([0-9A-Za-z._:-]+) [^ ]+ [^ ]+ ",
    r"\[([0-3][0-9]/(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/[0-9]{4}:[0-2][0-9]:[0-5][0-9]):[0-5][0-9] \+0000\] ",
    r#""[^"]*" "#,
    r"(?:[1-9][0-9][0-9]|-) (?:[0-9]+|-) ",
    r#""[^"]*" "#,
    r#""[^"]*"$"#,
);

struct ByRegex {
    line: Regex,
    groups: CaptureLocations,
    /// The minute of the line before, and the second it starts with: most lines are of the same.
    minute: ([u8; MINUTE], i64),
}

impl Default for ByRegex {
    fn default() -> Self {
        let line = Regex::new(LINE).expect("the expression is one");
        Self { groups: line.capture_locations(), line, minute: ([0; MINUTE], 0) }
    }
}

impl Parser for ByRegex {
    fn count(&mut self, line: &[u8], tally: &mut Tally<'_>) {
        if self.line.captures_read(&mut self.groups, line).is_none() {
            return;
        }
        let (Some(host), Some(minute)) = (self.groups.get(1), self.groups.get(2)) else {
            return;
        };
        let (host, minute) = (&line[host.0..host.1], &line[minute.0..minute.1]);
        if minute != self.minute.0 {
            let Some(second) = second(minute) else { return };
            self.minute = (minute.try_into().expect("the expression gives it this length"), second);
        }
        tally.add(host, self.minute.1);
    }
}

fn second(minute: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(minute).ok()?;
    NaiveDateTime::parse_from_str(text, "%d/%b/%Y:%H:%M").ok().map(|time| time.and_utc().timestamp())
}

fn main() -> Result<()> {
    run::<ByRegex>()
}
