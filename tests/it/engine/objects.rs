//! JSON objects of the Amazon Kinesis Agent count as the lines they were made of. Makes them by its own means.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use logtally::engine::{
    count::{Block, Counter, Plan, TimeSource},
    format::LogFormat,
    reason::Reason,
    reference::Reference,
    tally::UNOWNED,
    time::{Timestamp, WindowSize},
};
use proptest::{prelude::*, sample::select};
use regex::Regex;

const ACCESS: &str = include_str!("../../../fixtures/access.log");
const COMMON: &str = include_str!("../../../fixtures/access.common.log");
const HOSTILE: &[u8] = include_bytes!("../../../fixtures/hostile.log");
const HOSTS: &str = include_str!("../../../fixtures/hosts.csv");

const NAMES: [&str; 9] =
    ["host", "ident", "authuser", "datetime", "request", "response", "bytes", "referer", "agent"];

/// How a line becomes an object: the agent's own way, refused lines included, or ours, which knows more lines.
const FIELDS: &str = r#"^(\S+) (\S+) ("" |[^"\[]+ )\[([^\]"]*)\] "((?:[^"\\]|\\.)*)" (\S+) (\S+)(?: "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)")?"#;

#[derive(Clone, Copy, Debug)]
enum Wrapping {
    Compact,
    Pretty,
    Metadata,
    MetadataOfText,
    MetadataOfLine,
}

const WRAPPINGS: [Wrapping; 5] = [
    Wrapping::Compact,
    Wrapping::Pretty,
    Wrapping::Metadata,
    Wrapping::MetadataOfText,
    Wrapping::MetadataOfLine,
];

/// The object of a line, if it has the fields; and what is left of the line if something follows them.
fn object(fields: &Regex, line: &str, wrapping: Wrapping) -> Option<(String, String)> {
    let found = fields.captures(line)?;
    let text = |value: &str| serde_json::to_string(value).unwrap();
    let mut entries = Vec::new();
    for (index, name) in NAMES.iter().enumerate() {
        let Some(value) = found.get(index + 1) else { continue };
        let value = if index == 2 {
            value.as_str().strip_suffix(' ').unwrap_or(value.as_str())
        } else {
            value.as_str()
        };
        let value = match value {
            "-" => "null".to_owned(),
            "\"\"" => "\"\"".to_owned(),
            value => text(value),
        };
        entries.push((*name, value));
    }
    let join = |between: &str, colon: &str| {
        let mut all = String::new();
        for (index, (name, value)) in entries.iter().enumerate() {
            write!(all, "{}\"{name}\"{colon}{value}", if index > 0 { between } else { "" }).unwrap();
        }
        all
    };
    let whole = found.get(0).unwrap().as_str().to_owned();
    let compact = format!("{{{}}}", join(",", ":"));
    let object = match wrapping {
        Wrapping::Compact => compact,
        Wrapping::Pretty => format!("{{\n  {}\n}}", join(",\n  ", " : ")),
        Wrapping::Metadata => format!("{{\"metadata\":{{\"k\":[1,null]}},\"data\":{compact}}}"),
        Wrapping::MetadataOfText => format!("{{\"ts\":\"x\",\"metadata\":null,\"data\":{}}}", text(&compact)),
        Wrapping::MetadataOfLine => format!("{{\"metadata\":{{}},\"data\":{}}}", text(&whole)),
    };
    Some((whole, object))
}

type Counts = BTreeMap<(Timestamp, u32, u16), (u64, u64)>;
type Hosts = BTreeMap<String, u64>;
type Refused = BTreeMap<Reason, u64>;

/// What lines come to: requests and bytes, unknown hosts, malformed lines by reason, and lines read.
fn counted(format: &str, lines: &[u8]) -> (Counts, Hosts, Refused, u64) {
    let plan = Arc::new(Plan {
        format: LogFormat::named(format).unwrap(),
        window: WindowSize::FIVE_MINUTES,
        time: TimeSource::Event,
    });
    let reference = Arc::new(Reference::parse(HOSTS.as_bytes()).unwrap().reference);
    let mut block = Block::default();
    Counter::new(plan, reference).count(lines, Timestamp::MIN, &mut block);
    assert!(block.counters.balance());
    assert_eq!(block.counters.read_bytes, lines.len() as u64);
    let (mut counts, mut hosts) = (Counts::new(), Hosts::new());
    for (start, window) in &block.windows {
        let mut unowned = 0;
        for (key, cell) in &window.cells {
            let count = counts.entry((*start, key.owner, key.response)).or_default();
            *count = (count.0 + cell.count, count.1 + cell.bytes);
            unowned += if key.owner == UNOWNED { cell.count } else { 0 };
        }
        assert_eq!(unowned, window.hosts.iter().map(|(_, requests)| requests).sum::<u64>());
        for (host, requests) in window.hosts.iter() {
            *hosts.entry(String::from_utf8_lossy(host).into_owned()).or_default() += requests;
        }
    }
    (counts, hosts, block.counters.malformed, block.counters.read)
}

fn assert_same(format: &str, text: &str) {
    let fields = Regex::new(FIELDS).unwrap();
    for wrapping in WRAPPINGS {
        let (mut lines, mut objects, mut converted) = (String::new(), String::new(), 0);
        for line in text.lines() {
            let (line, object) = match object(&fields, line, wrapping) {
                Some(both) => {
                    converted += 1;
                    both
                }
                None => (line.to_owned(), line.to_owned()),
            };
            lines = lines + &line + "\n";
            objects = objects + &object + "\n";
        }
        assert_eq!(counted(format, objects.as_bytes()), counted(format, lines.as_bytes()), "{wrapping:?}");
        assert!(converted * 10 > text.lines().count() * 9, "{converted} of {}", text.lines().count());
    }
}

#[test]
fn every_line_of_the_fixtures_counts_the_same_as_an_object() {
    assert_same("combined", ACCESS);
    assert_same("common", COMMON);
}

#[test]
fn hostile_lines_are_malformed_for_the_same_reasons_as_objects() {
    let fields = Regex::new(FIELDS).unwrap();
    let mut converted = 0;
    for line in String::from_utf8_lossy(HOSTILE).lines() {
        for wrapping in WRAPPINGS {
            if let Some((line, object)) = object(&fields, line, wrapping) {
                let format =
                    if object.contains("referer") || line.ends_with('"') { "combined" } else { "common" };
                let (line, object) = (format!("{line}\n"), format!("{object}\n"));
                assert_eq!(counted(format, object.as_bytes()), counted(format, line.as_bytes()), "{object}");
                converted += 1;
            }
        }
    }
    assert!(converted > 200, "{converted}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_changed_line_counts_the_same_as_its_object(
        line in select(ACCESS.lines().collect::<Vec<_>>()),
        at in 0_usize..200,
        put in prop_oneof![
            4 => select(vec!["-", " ", "\"", "\\", "\\\"", "[", "]", "{", "}", "\u{1}", "\t", "9", "é", "10.0.0.1 - - ["]),
            1 => Just(""),
        ],
        wrapping in select(WRAPPINGS.to_vec()),
    ) {
        let mut changed = line.to_owned();
        let at = (0..=at.min(line.len())).rev().find(|&at| line.is_char_boundary(at)).unwrap();
        changed.insert_str(at, put);
        let fields = Regex::new(FIELDS).unwrap();
        if let Some((line, object)) = object(&fields, &changed, wrapping)
            && object.contains("referer")
        {
            prop_assert_eq!(
                counted("combined", format!("{object}\n").as_bytes()),
                counted("combined", format!("{line}\n").as_bytes()),
            );
        }
    }

    #[test]
    fn any_text_is_counted_line_by_line(
        lines in prop::collection::vec(select(vec!["{", "}", "{}", "{\"host\":", "  \"host\" : \"a\",", "", "x", "}\r"]), 0..20),
    ) {
        let text = lines.join("\n") + "\n";
        let (_, _, malformed, read) = counted("combined", text.as_bytes());
        prop_assert_eq!(malformed.values().sum::<u64>(), read);
        prop_assert!(read <= lines.len().max(1) as u64);
    }
}
