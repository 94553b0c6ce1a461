//! Any text as log format: compiled or refused, never a panic; and what compiles parses any line without one, the same
//! whatever was parsed before.

#![no_main]

use libfuzzer_sys::fuzz_target;
use logtally::engine::format::{LogFormat, StampCache};

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (text, client, lines) = input;
    let Ok(format) = LogFormat::compile(text) else { return };
    assert_eq!(format.as_str(), text);
    let formats = [Some(format.clone()), format.with_client(client).ok()];
    let mut stamps = StampCache::default();
    for format in formats.iter().flatten() {
        for line in lines.split(|&byte| byte == b'\n') {
            let first = format.parse(line, &mut stamps);
            match &first {
                Ok(event) => assert_eq!(event.time.is_some(), format.has_time()),
                Err(malformed) => assert!((1..=line.len() + 1).contains(&malformed.column), "{malformed:?}"),
            }
            assert_eq!(first, format.parse(line, &mut StampCache::default()));
        }
    }
});
