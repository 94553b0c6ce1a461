//! Parcels: the rows of one cut, packed into records of the output stream and read back. Sends nothing.
//!
//! Rows are placed by the MD5 of their application, so that every series has one writer however many shards the
//! output stream has: the first four bits choose one of [`PLACES`] hash keys, and a parcel holds rows of one place.

use std::collections::BTreeMap;

use bytes::Bytes;
use md5::{Digest, Md5};
use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::engine::{
    metric::{Datum, datums},
    row::{Origin, Output},
};

/// How many hash keys rows are spread over.
pub const PLACES: u128 = 16;
/// The longest payload of a parcel, in bytes: within the 1 MiB that every Kinesis stream takes.
pub const MAX_BYTES: usize = 900 * 1_024;

/// One record of the output stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// `pipeline/epoch/shard/cut/part`: the partition key, and what the ledger of `deliver` remembers.
    pub id: String,
    /// Places the record.
    pub hash_key: u128,
    /// One JSON object a line.
    pub lines: Bytes,
}

/// Packs the rows of cut number `cut`.
#[must_use]
pub fn pack(origin: &Origin, cut: u64, rows: &[Output]) -> Vec<Parcel> {
    let mut places: BTreeMap<u128, Vec<Vec<u8>>> = BTreeMap::new();
    // The rows of an application follow each other.
    let mut last = None;
    for row in rows {
        let key = match row {
            Output::Row(row) => &row.application_name,
            Output::Health(tagged) => &tagged.row.shard,
        };
        let (_, place) =
            *last.insert(last.filter(|&(name, _)| name == key).unwrap_or_else(|| (key, place(key))));
        let payloads = places.entry(place).or_insert_with(|| vec![Vec::new()]);
        let Some(payload) = payloads.last_mut() else { continue };
        let before = payload.len();
        // Rows have names for keys, and a vector takes all: this does not fail.
        drop(serde_json::to_writer(&mut *payload, row));
        payload.push(b'\n');
        if payload.len() > MAX_BYTES && before > 0 {
            let line = payload.split_off(before);
            payloads.push(line);
        }
    }
    let records =
        places.into_iter().flat_map(|(place, payloads)| payloads.into_iter().map(move |p| (place, p)));
    let parcel = |(part, (place, lines)): (usize, (u128, Vec<u8>))| Parcel {
        id: format!("{origin}/{cut}/{part}"),
        hash_key: place * (u128::MAX / PLACES + 1),
        lines: lines.into(),
    };
    records.enumerate().map(parcel).collect()
}

fn place(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key.as_bytes()).into()) >> 124
}

/// What a parcel's payload holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unpacked {
    /// Its lines that are rows.
    pub rows: Vec<Output>,
    /// Lines that are none: somebody else writes to the stream. Counted, never published.
    pub foreign_lines: u64,
}

impl Unpacked {
    /// What the rows add to the metrics, one datum a series and timestamp.
    #[must_use]
    pub fn datums(&self) -> Vec<Datum> {
        datums(&self.rows)
    }
}

/// Reads a payload back.
#[must_use]
pub fn unpack(payload: &[u8]) -> Unpacked {
    let mut unpacked = Unpacked::default();
    for line in payload.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        match output(line) {
            Ok(row) => unpacked.rows.push(row),
            Err(_) => unpacked.foreign_lines += 1,
        }
    }
    unpacked
}

/// Reads a line. One that does not say what it is is a row, and is read in one pass.
fn output(line: &[u8]) -> serde_json::Result<Output> {
    match memmem::find(line, b"\"kind\"") {
        Some(_) => serde_json::from_slice(line),
        None => serde_json::from_slice(line).map(Output::Row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        row::{HostCount, Row},
        time::Timestamp,
    };

    fn row(application: &str, response: u16) -> Output {
        Output::Row(Row {
            row_id: "p/1/s/1/0".to_owned(),
            window_start: Timestamp::from_millis(0),
            window_end: Timestamp::from_millis(300_000),
            revision: 0,
            application_name: application.to_owned(),
            contact: "x@example.com".to_owned(),
            response: Some(response),
            response_count: 2,
            bytes: 10,
            top_hosts: vec![HostCount { host: "h".repeat(100), count: 1, error: 0 }],
        })
    }

    fn origin() -> Origin {
        Origin { pipeline: "p".to_owned(), epoch: 1, shard: "s".to_owned() }
    }

    #[test]
    fn what_is_packed_is_unpacked_and_a_series_has_one_place() {
        let rows: Vec<Output> = (0..20_000).map(|n| row(&format!("app {}", n % 100), 200)).collect();
        let parcels = pack(&origin(), 7, &rows);
        assert!(parcels.iter().all(|parcel| parcel.lines.len() <= MAX_BYTES));
        let mut places: BTreeMap<String, u128> = BTreeMap::new();
        let mut count = 0;
        for parcel in &parcels {
            for output in unpack(&parcel.lines).rows {
                let Output::Row(row) = output else { panic!("no health row was packed") };
                assert_eq!(*places.entry(row.application_name).or_insert(parcel.hash_key), parcel.hash_key);
                count += 1;
            }
        }
        assert_eq!((count, parcels[0].id.as_str()), (20_000, "p/1/s/7/0"));
    }

    #[test]
    fn a_series_adds_up_to_one_datum_and_foreign_lines_are_counted() {
        let parcels = pack(&origin(), 1, &[row("A", 200), row("A", 204), row("A", 404)]);
        let mut lines = parcels[0].lines.to_vec();
        lines.extend(b"{\"hello\":1}\nnonsense\n");
        let unpacked = unpack(&lines);
        assert_eq!((unpacked.rows.len(), unpacked.foreign_lines), (3, 2));
        let values: Vec<f64> = unpacked.datums().iter().map(|datum| datum.value).collect();
        assert_eq!(values, [6.0, 4.0, 2.0]);
    }
}
