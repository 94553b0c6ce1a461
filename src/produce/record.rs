//! Pieces of files as records of the input stream, with their provenance. Sends nothing.

use md5::{Digest, Md5};

use crate::{
    backend::{Outgoing, SourceState},
    engine::{
        producers::Alive,
        provenance::{Node, Provenance, SourceId},
        record::CHUNK,
    },
    tail::Piece,
};

/// A piece of a file. The hash key comes from node, generation and chunk, so that a busy file spreads over shards.
pub(crate) fn of_piece(node: Node, piece: Piece, acked: u64) -> Outgoing {
    let Piece { generation, start, end, data } = piece;
    let source = SourceId { node, generation };
    let chunk = format!("{node}.{generation}.{}", start / CHUNK);
    Outgoing {
        partition_key: Provenance { source, start, end, acked }.to_string(),
        hash_key: Some(u128::from_be_bytes(Md5::digest(chunk.as_bytes()).into())),
        data: data.into(),
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
}
