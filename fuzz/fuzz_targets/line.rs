//! Any bytes as lines of a log, or objects of the Amazon Kinesis Agent: parsed or malformed at a column of the line, never a panic.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use logtally::engine::format::{LogFormat, StampCache};

static FORMATS: LazyLock<Vec<LogFormat>> = LazyLock::new(|| {
    let names = ["common", "combined", "vhost_combined", "combinedio"];
    names.into_iter().filter_map(LogFormat::named).collect()
});

fuzz_target!(|lines: &[u8]| {
    for format in FORMATS.iter() {
        let mut stamps = StampCache::default();
        for line in lines.split(|byte| *byte == b'\n') {
            let mut memory = Vec::new();
            let first = format.parse_or_object(line, &mut memory, &mut stamps);
            if let Err(malformed) = &first {
                assert!((1..=line.len() + 1).contains(&malformed.column), "{malformed:?}");
            }
            // What a line is does not depend on the lines before it.
            let mut memory = Vec::new();
            let alone = format.parse_or_object(line, &mut memory, &mut StampCache::default());
            assert_eq!(format!("{first:?}"), format!("{alone:?}"));
        }
    }
});
