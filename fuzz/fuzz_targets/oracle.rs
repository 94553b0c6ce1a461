//! Any text as a combined line: the fast parser says what a plain grammar says; a record that is read is printed and
//! read back as it was; and any bytes that Apache escapes into a request are the ones that are read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use logtally::engine::format::{Event, LogFormat, StampCache, unescape};
use std::sync::LazyLock;

#[path = "../../src/engine/format/tests/plain.rs"]
mod plain;

use plain::{Record, has_stamp, plain};

static COMBINED: LazyLock<LogFormat> =
    LazyLock::new(|| LogFormat::named("combined").expect("a format of that name"));

fuzz_target!(|input: &[u8]| {
    escaped(input);
    let Ok(line) = std::str::from_utf8(input) else { return };
    if line.contains('\n') {
        return;
    }
    let event = COMBINED.parse(line.as_bytes(), &mut StampCache::default()).ok();
    assert_eq!(event.as_ref().map(record), plain(line), "{line:?}");
    if let Some(event) = event {
        printed(&event);
    }
});

fn record(event: &Event<'_>) -> Record {
    let raw = event.raw;
    let text =
        |raw: Option<&[u8]>| String::from_utf8(raw.unwrap_or_default().to_vec()).expect("text of text");
    Record {
        texts: [raw.host, raw.ident, raw.authuser, raw.request, raw.referer, raw.agent].map(text),
        millis: event.time.expect("a combined line has a time").as_millis(),
        status: event.response,
        bytes: event.bytes,
    }
}

/// Prints the fields as Apache would.
fn printed(event: &Event<'_>) {
    let raw = event.raw;
    let text = |raw: Option<&[u8]>| String::from_utf8_lossy(raw.unwrap_or_default()).into_owned();
    let [host, ident, user, stamp, request, bytes, referer, agent] =
        [raw.host, raw.ident, raw.authuser, raw.datetime, raw.request, raw.bytes, raw.referer, raw.agent]
            .map(text);
    let user = if user.is_empty() { "\"\"" } else { &user };
    let status = event.response.map_or("-".to_owned(), |status| status.to_string());
    let line =
        format!(r#"{host} {ident} {user} [{stamp}] "{request}" {status} {bytes} "{referer}" "{agent}""#);
    let again = COMBINED.parse(line.as_bytes(), &mut StampCache::default());
    assert_eq!(again.as_ref(), Ok(event), "{line:?}");
}

/// `ap_escape_logitem` of httpd 2.4, and back.
fn escaped(request: &[u8]) {
    let mut line = br#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] ""#.to_vec();
    for &byte in request {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', byte]),
            b'\n' => line.extend(b"\\n"),
            b'\t' => line.extend(b"\\t"),
            0..b' ' | 0x7f.. => line.extend(format!("\\x{byte:02x}").as_bytes()),
            _ => line.push(byte),
        }
    }
    line.extend(br#"" 200 5 "-" "-""#);
    if has_stamp(&String::from_utf8_lossy(request)) {
        return;
    }
    let event = COMBINED.parse(&line, &mut StampCache::default()).expect("what Apache prints is read");
    assert_eq!(unescape(event.raw.request.unwrap_or_default()), request);
}
