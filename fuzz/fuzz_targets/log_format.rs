//! Any text as log format: compiled or refused, never a panic; and what compiles parses any line without one.

#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use logtally::engine::format::{LogFormat, StampCache};

fuzz_target!(|input: (&str, &[u8])| {
    let (text, line) = input;
    if let Ok(format) = LogFormat::compile(text) {
        black_box(format.parse(line, &mut StampCache::default())).ok();
    }
});
