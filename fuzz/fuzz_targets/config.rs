//! Any text as configuration: accepted or refused with one line, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use logtally::config;

fuzz_target!(|text: &str| {
    if let Err(error) = config::parse(text) {
        let message = error.to_string();
        assert!(message.starts_with("logtally.toml"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
});
