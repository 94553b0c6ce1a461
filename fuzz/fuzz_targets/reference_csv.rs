//! Any bytes as reference data: accepted or refused, never a panic.

#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use logtally::engine::reference::Reference;

fuzz_target!(|csv: &[u8]| {
    black_box(Reference::parse(csv)).ok();
});
