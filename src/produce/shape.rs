//! What becomes a record of the stream: packed lines with their provenance, or what the Amazon Kinesis Agent sends.

use std::sync::Arc;

use md5::{Digest, Md5};

use crate::{
    backend::Outgoing,
    engine::{
        agent::{Chain, pattern},
        provenance::Node,
    },
    produce::record,
    tail::Piece,
};

/// The longest record of the agent's shape, in bytes: a stream takes 1 MiB with the partition key, which has up to
/// 256 characters (`PutRecords` of Kinesis; `KinesisConstants` of the agent's source).
pub const MAX_RECORD: usize = 1024 * 1024 - 256;

/// How a record's partition key is made: the agent's `partitionKeyOption`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartitionKeys {
    /// `RANDOM`. A record that holds the bytes of the file as they are carries its provenance instead of chance, so
    /// that what a restart sends twice is recognised.
    #[default]
    Random,
    /// `DETERMINISTIC`: the MD5 sum of the data.
    Deterministic,
}

/// What the agent's flow says of records.
#[derive(Clone, Debug)]
pub struct AgentShape {
    /// A line that begins so begins a record (`multiLineStartPattern`); without it every line is one.
    pub starts: Option<pattern::Start>,
    /// Lines at the beginning of each file that are not sent (`skipHeaderLines`).
    pub skip_header_lines: u64,
    /// What a record that was cut ends with (`truncatedRecordTerminator`).
    pub terminator: Vec<u8>,
    /// What is done with each record (`dataProcessingOptions`).
    pub chain: Chain,
    /// How partition keys are made.
    pub keys: PartitionKeys,
    /// How many records one append holds at most (`maxBufferSizeRecords`).
    pub append_records: usize,
    /// How many bytes one append holds at most, if it holds more than one record (`maxBufferSizeBytes`).
    pub append_bytes: usize,
    /// How long the last record of a file waits for further lines, in milliseconds, before it counts as whole.
    pub patience_ms: i64,
}

/// What becomes a record.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// Several lines, with their provenance.
    Lines,
    /// One line, or several that belong together.
    Agent { shape: Arc<AgentShape>, random: u64 },
}

impl AgentShape {
    /// Whether records carry their provenance as partition key.
    #[must_use]
    pub fn has_provenance(&self) -> bool {
        self.chain.is_empty() && self.keys == PartitionKeys::Random
    }
}

impl Shape {
    /// Whether the stream also takes what producers say of themselves; who reads the agent's records expects none.
    pub(crate) fn says_alive(&self) -> bool {
        match self {
            Self::Lines => true,
            Self::Agent { .. } => false,
        }
    }

    /// `piece` as a record.
    pub(crate) fn record(&mut self, node: Node, piece: Piece, acked: u64) -> Outgoing {
        match self {
            Self::Lines => record::of_piece(node, piece, acked),
            Self::Agent { shape, .. } if shape.has_provenance() => record::of_piece(node, piece, acked),
            Self::Agent { shape, random } => {
                let partition_key = match shape.keys {
                    PartitionKeys::Random => next(random).to_string(),
                    PartitionKeys::Deterministic => {
                        format!("{:032x}", u128::from_be_bytes(Md5::digest(&piece.data).into()))
                    }
                };
                Outgoing { partition_key, hash_key: None, data: piece.data.into() }
            }
        }
    }

    /// `records` as appends: of any size, or as small as the flow wants them. At least one, which may be empty.
    pub(crate) fn appends(&self, records: Vec<Outgoing>) -> Vec<Vec<Outgoing>> {
        let Self::Agent { shape, .. } = self else {
            return vec![records];
        };
        let mut appends = Vec::new();
        let (mut append, mut bytes) = (Vec::new(), 0);
        for record in records {
            let length = record.data.len() + record.partition_key.len();
            let full = append.len() >= shape.append_records || bytes + length > shape.append_bytes;
            if full && !append.is_empty() {
                appends.push(std::mem::take(&mut append));
                bytes = 0;
            }
            bytes += length;
            append.push(record);
        }
        appends.push(append);
        appends
    }
}

/// The next pseudo-random number (`SplitMix64`): keys need no more than to spread.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
