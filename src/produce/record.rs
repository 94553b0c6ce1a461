//! Pieces of files as records of the input stream, with their provenance. Sends nothing.

use std::ops::Range;

use bytes::Bytes;
use md5::{Digest, Md5};
use memchr::{memchr, memchr_iter, memrchr};

use crate::{
    backend::{Outgoing, SourceState},
    engine::{
        producers::Alive,
        provenance::{Node, Provenance, SourceId},
        record::CHUNK,
    },
    produce::Limits,
    tail::Piece,
};

/// A piece of a file as records within `limits`: each of whole lines, and at least one.
pub(crate) fn of_lines(node: Node, piece: Piece, acked: u64, limits: Limits) -> Vec<Outgoing> {
    let Piece { generation, mut start, end, data } = piece;
    // Of an overlong line only the beginning is there, and it is the only one.
    let is_whole = data.len() as u64 == end - start;
    let mut rest = Bytes::from(data);
    let mut records = Vec::new();
    while is_whole && let Some(length) = first_of_many(&rest, limits) {
        let behind = start + length as u64;
        records.push(record(node, generation, start..behind, rest.split_to(length), acked));
        start = behind;
    }
    records.push(record(node, generation, start..end, rest, acked));
    records
}

/// How many bytes of `lines` go into the first record, if not all do.
fn first_of_many(lines: &[u8], limits: Limits) -> Option<usize> {
    let full = match lines.get(..limits.bytes) {
        Some(most) if most.len() < lines.len() => {
            // The first line is longer than a record should be, if none ends in it.
            memrchr(b'\n', most).or_else(|| memchr(b'\n', lines)).map_or(lines.len(), |end| end + 1)
        }
        _ => lines.len(),
    };
    // To count all is several times as fast as to look for one of them.
    let ends = || lines.get(..full).map(|lines| memchr_iter(b'\n', lines));
    let full = if full > limits.lines && ends()?.count() >= limits.lines {
        let last = ends()?.nth(limits.lines.max(1) - 1);
        last.map_or(full, |end| end + 1)
    } else {
        full
    };
    (full < lines.len()).then_some(full)
}

/// A piece of a file, all of it.
pub(crate) fn of_piece(node: Node, piece: Piece, acked: u64) -> Outgoing {
    let Piece { generation, start, end, data } = piece;
    record(node, generation, start..end, data.into(), acked)
}

/// The hash key comes from node, generation and chunk, so that a busy file spreads over shards.
fn record(
    node: Node,
    generation: u64,
    Range { start, end }: Range<u64>,
    data: Bytes,
    acked: u64,
) -> Outgoing {
    let source = SourceId { node, generation };
    let chunk = format!("{node}.{generation}.{}", start / CHUNK);
    Outgoing {
        partition_key: Provenance { source, start, end, acked }.to_string(),
        hash_key: Some(u128::from_be_bytes(Md5::digest(chunk.as_bytes()).into())),
        data,
    }
}

/// The positions of the files.
pub(crate) fn sources(states: Vec<(u64, Vec<u8>)>) -> Vec<SourceState> {
    states.into_iter().map(|(generation, state)| SourceState { generation, state }).collect()
}

/// "I am alive", or goodbye; with the totals of this run.
pub(crate) fn alive(node: Node, (read_bytes, sent_bytes): (u64, u64), stopped: bool) -> Outgoing {
    let alive = Alive { kind: "producer".to_owned(), node, read_bytes, sent_bytes, stopped };
    let data = serde_json::to_vec(&alive).unwrap_or_default().into();
    Outgoing { partition_key: alive.partition_key(), hash_key: None, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_in_its_place_within_a_chunk_and_moves_with_the_next() {
        let piece = |start: u64| Piece { generation: 7, start, end: start + 2, data: b"a\n".to_vec() };
        let record = |start| of_piece(Node(255), piece(start), 1);
        assert_eq!(record(0).hash_key, record(CHUNK - 1).hash_key);
        assert_ne!(record(0).hash_key, record(CHUNK).hash_key);
        assert_eq!(record(9).partition_key, "00000000000000ff.7.9-11.1");
    }

    /// The lines of records within these limits, which follow each other.
    fn split(data: &str, end: u64, bytes: usize, lines: usize) -> Vec<String> {
        let piece = Piece { generation: 7, start: 100, end, data: data.as_bytes().to_vec() };
        let mut next = 100;
        let records = of_lines(Node(255), piece, 1, Limits { bytes, lines, age_ms: 0 });
        let text = |record: Outgoing| {
            let provenance: Provenance = record.partition_key.parse().unwrap();
            assert_eq!(std::mem::replace(&mut next, provenance.end), provenance.start);
            String::from_utf8(record.data.to_vec()).unwrap()
        };
        let texts = records.into_iter().map(text).collect();
        assert_eq!(next, end);
        texts
    }

    #[test]
    fn a_piece_becomes_records_of_whole_lines_within_the_limits() {
        let text = "1\n22\n333\n4444\n5";
        let whole = |bytes, lines| split(text, 100 + text.len() as u64, bytes, lines);
        assert_eq!(whole(1_000, 1_000), [text]);
        assert_eq!(whole(15, 5), [text]);
        assert_eq!(whole(14, 1_000), ["1\n22\n333\n4444\n", "5"]);
        assert_eq!(whole(9, 1_000), ["1\n22\n333\n", "4444\n5"]);
        assert_eq!(whole(1, 1_000), ["1\n", "22\n", "333\n", "4444\n", "5"]);
        assert_eq!(whole(1_000, 2), ["1\n22\n", "333\n4444\n", "5"]);
        assert_eq!(whole(5, 1), ["1\n", "22\n", "333\n", "4444\n", "5"]);
        assert_eq!(split("cut\n", 9_000, 1, 1), ["cut\n"], "an overlong line");
    }
}
