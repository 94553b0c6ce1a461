//! Any bytes as reference data: accepted or refused, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use logtally::engine::reference::Reference;

fuzz_target!(|csv: &[u8]| {
    drop(Reference::parse(csv));
});
