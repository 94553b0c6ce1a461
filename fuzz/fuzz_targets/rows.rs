//! Any bytes as a parcel of rows: each line a row or counted as foreign, never a panic; a row that is read is written
//! and read back as it was, and what it adds to the metrics is a number.

#![no_main]

use libfuzzer_sys::fuzz_target;
use logtally::engine::{
    parcel::{pack, unpack},
    row::Origin,
};

fuzz_target!(|payload: &[u8]| {
    let unpacked = unpack(payload);
    let lines = payload.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count() as u64;
    assert_eq!(unpacked.rows.len() as u64 + unpacked.foreign_lines, lines);
    for datum in unpacked.datums() {
        assert!(datum.value.is_finite() && datum.value >= 0.0, "{datum:?}");
    }
    let origin = Origin { pipeline: "p".to_owned(), epoch: 1, shard: "s".to_owned() };
    let parcels = pack(&origin, 1, &unpacked.rows);
    let again: Vec<_> = parcels.iter().map(|parcel| unpack(&parcel.lines)).collect();
    assert!(again.iter().all(|parcel| parcel.foreign_lines == 0));
    let mut rows: Vec<_> =
        again.into_iter().flat_map(|parcel| parcel.rows).map(|row| format!("{row:?}")).collect();
    let mut expected: Vec<_> = unpacked.rows.iter().map(|row| format!("{row:?}")).collect();
    rows.sort();
    expected.sort();
    assert_eq!(rows, expected);
});
