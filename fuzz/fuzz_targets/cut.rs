//! Any bytes as a checkpoint: decoded or refused, never a panic; and what is decoded is encoded to what decodes to the
//! same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use logtally::engine::cut::{Cut, CutRef};

fuzz_target!(|bytes: &[u8]| {
    let Ok(cut) = Cut::decode(bytes) else { return };
    let encoded = encode(&cut);
    let again = Cut::decode(&encoded).expect("what was encoded is decoded");
    // Hash tables keep no order, so lengths and numbers are compared.
    assert_eq!(encode(&again).len(), encoded.len());
    assert_eq!((again.epoch, again.ended, again.outbox), (cut.epoch, cut.ended, cut.outbox));
    assert_eq!(again.state.seen, cut.state.seen);
    assert_eq!(again.state.counters, cut.state.counters);
    assert_eq!(again.state.journal, cut.state.journal);
});

fn encode(cut: &Cut) -> Vec<u8> {
    let Cut { epoch, ended, state, outbox } = cut;
    CutRef { epoch: *epoch, ended: *ended, state, outbox }.encode().expect("a cut is encoded")
}
