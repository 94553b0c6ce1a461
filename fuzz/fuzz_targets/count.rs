//! Any text as lines of the common and the combined format: the counter, which reads plain lines by their marks, comes to
//! what a plain loop over the lines comes to.

#![no_main]

use libfuzzer_sys::fuzz_target;
use logtally::engine::{
    count::{Block, Counter, Plan, TimeSource},
    format::LogFormat,
    reference::Reference,
    time::{Timestamp, WindowSize},
};
use std::sync::{Arc, LazyLock};

#[path = "../../tests/it/engine/plainly.rs"]
mod plainly;

use plainly::{counted, plainly};

static FORMATS: LazyLock<[LogFormat; 2]> = LazyLock::new(|| {
    ["common", "combined"].map(|name| LogFormat::named(name).expect("a format of that name"))
});

fuzz_target!(|text: &[u8]| {
    // What begins with a brace may be an object, which the plain loop does not know.
    if text.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"{")) {
        return;
    }
    for format in FORMATS.iter() {
        let plan = Plan { format: format.clone(), window: WindowSize::FIVE_MINUTES, time: TimeSource::Event };
        let mut counter = Counter::new(Arc::new(plan), Arc::new(Reference::default()));
        let mut block = Block::default();
        counter.count(text, Timestamp::MIN, &mut block);
        assert_eq!(counted(&block, text), plainly(format, text));
    }
});
