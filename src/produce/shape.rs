//! What becomes a record of the stream: packed lines with their provenance, or what the Amazon Kinesis Agent sends.

use std::sync::Arc;

use md5::{Digest, Md5};

use crate::{
    backend::Outgoing,
    engine::{
        agent::{Chain, pattern},
        provenance::Node,
    },
    produce::{Limits, record},
    tail::Piece,
};

/// The longest record of the agent's shape, in bytes: a stream takes 1 MiB with the partition key, which has up to
/// 256 characters (`PutRecords` of Kinesis; `KinesisConstants` of the agent's source).
pub const MAX_RECORD: usize = 1024 * 1024 - 256;

/// Records that start in one run of this many bytes of a file stay together. A shard takes 1,000 records a second (quotas
/// of Kinesis Data Streams), and each line is a record here, so a run is much shorter than the chunk of packed lines; but
/// not a single record, as `analyze` remembers what it took of a file by ranges, at most 4,096 of them.
const RUN: u64 = 32 * 1024;

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
    Lines(Limits),
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
            Self::Lines(_) => true,
            Self::Agent { .. } => false,
        }
    }

    /// `piece` as records, in its order.
    pub(crate) fn records(&mut self, node: Node, piece: Piece, acked: u64) -> Vec<Outgoing> {
        match self {
            Self::Lines(limits) => record::of_lines(node, piece, acked, *limits),
            Self::Agent { shape, .. } if shape.has_provenance() => {
                let place = format!("{node}.{}.{}", piece.generation, piece.start / RUN);
                let record = record::of_piece(node, piece, acked);
                vec![Outgoing { hash_key: Some(md5(place.as_bytes())), ..record }]
            }
            Self::Agent { shape, random } => {
                let partition_key = match shape.keys {
                    PartitionKeys::Random => next(random).to_string(),
                    PartitionKeys::Deterministic => {
                        format!("{:032x}", md5(&piece.data))
                    }
                };
                vec![Outgoing { partition_key, hash_key: None, data: piece.data.into() }]
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

fn md5(bytes: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(bytes).into())
}

/// The next pseudo-random number (`SplitMix64`): keys need no more than to spread.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{
            agent::Step,
            count::{Counter, Plan, TimeSource},
            engine::Engine,
            format::LogFormat,
            provenance::Provenance,
            record::{MAX_LINE, Record},
            reference::Reference,
            row::Origin,
            settings::{self, Mode},
            state::State,
            time::{Timestamp, WindowSize},
        },
        produce::records::Records,
    };

    fn agent(keys: PartitionKeys, steps: Vec<Step>) -> Shape {
        let shape = AgentShape {
            starts: None,
            skip_header_lines: 0,
            terminator: b"\n".to_vec(),
            chain: Chain(steps),
            keys,
            append_records: 3,
            append_bytes: 1_000,
            patience_ms: 1_000,
        };
        Shape::Agent { shape: Arc::new(shape), random: 1 }
    }

    fn piece(start: u64, data: &str) -> Piece {
        Piece::whole(7, start, data.as_bytes())
    }

    #[test]
    fn a_record_as_it_is_carries_its_provenance_and_stays_in_its_place() {
        let mut shape = agent(PartitionKeys::Random, Vec::new());
        let record = shape.records(Node(255), piece(9, "a\n"), 1).swap_remove(0);
        let provenance: Provenance = record.partition_key.parse().unwrap();
        assert_eq!((provenance.start, provenance.end, provenance.acked), (9, 11, 1));
        let place = |shape: &mut Shape, start, acked| {
            shape.records(Node(255), piece(start, "a\n"), acked).swap_remove(0).hash_key
        };
        assert_eq!(place(&mut shape, RUN - 1, 0), record.hash_key, "whatever was acknowledged meanwhile");
        assert_eq!(place(&mut shape, RUN - 1, 0), place(&mut shape, 9, 8));
        assert_ne!(place(&mut shape, RUN, 0), record.hash_key);
    }

    #[test]
    fn other_records_have_the_keys_that_the_agent_gives_them() {
        let mut shape = agent(PartitionKeys::Random, vec![Step::AddBrackets]);
        let keys = [0, 0]
            .map(|start| shape.records(Node(255), piece(start, "{a\n}"), 0).swap_remove(0).partition_key);
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| key.parse::<u64>().is_ok()), "{keys:?}");
        let mut shape = agent(PartitionKeys::Deterministic, Vec::new());
        let record = shape.records(Node(255), piece(0, "a\n"), 0).swap_remove(0);
        // printf 'a\n' | md5sum
        assert_eq!(record.partition_key, "60b725f10c9c85c70d97880dfe8191b3");
        assert_eq!(record.hash_key, None);
    }

    #[test]
    fn an_append_is_as_small_as_the_flow_wants_it() {
        let mut shape = agent(PartitionKeys::Deterministic, Vec::new());
        let mut sizes = |lengths: &[usize]| -> Vec<usize> {
            let record = |&length: &usize| shape.records(Node(1), piece(0, &"x".repeat(length)), 0);
            let records = lengths.iter().flat_map(record).collect();
            shape.appends(records).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(&[1; 7]), [3, 3, 1]);
        assert_eq!(sizes(&[500, 500, 1]), [1, 2]);
        assert_eq!(sizes(&[2_000, 2_000]), [1, 1], "a record is sent whatever its size");
        assert_eq!(sizes(&[]), [0]);
        assert!(!shape.says_alive());
        assert_eq!(Shape::Lines(Limits { bytes: 1, lines: 1, age_ms: 0 }).appends(Vec::new()).len(), 1);
    }

    fn engine() -> Engine {
        let window = WindowSize::from_millis(60_000).unwrap();
        let format = LogFormat::compile("%h %{msec}t %>s %b").unwrap();
        let reference = Reference::parse(b"Host,ApplicationName,Contact\n").unwrap().reference;
        let plan = Plan { format, window, time: TimeSource::Event };
        let counter = Counter::new(Arc::new(plan), Arc::new(reference));
        let settings = settings::Settings {
            origin: Origin { pipeline: "p".to_owned(), epoch: 1, shard: "s".to_owned() },
            mode: Mode::Live,
            allowed_lateness_ms: 0,
            correction_interval_ms: 60_000,
            share: 1_000_000_000,
            zero_rows: false,
            top_hosts: 5,
        };
        Engine::new(settings, counter, State::new(window)).0
    }

    /// The process dies between the append and the storing of the position, and the next one sends the same again.
    #[test]
    fn a_record_that_was_cut_is_recognised_when_it_is_sent_twice() {
        for (terminator, missing) in [("\n", 1), ("\n", 9), ("... and so on\n", 1), ("... and so on\n", 2)] {
            let Shape::Agent { shape, random } = agent(PartitionKeys::Random, Vec::new()) else {
                panic!("an agent's");
            };
            let shape = AgentShape { terminator: terminator.as_bytes().to_vec(), ..(*shape).clone() };
            let mut records = Records::new(Arc::new(shape.clone()));
            let mut shape = Shape::Agent { shape: Arc::new(shape), random };
            let end = (MAX_LINE + missing) as u64;
            let first = vec![b'x'; MAX_LINE];
            let mut sent = || {
                let pieces = vec![Piece::cut(7, 0, end, &first), piece(end, "10.0.0.1 0 200 5\n")];
                let pieces = records.of(pieces, Timestamp::MIN);
                pieces.into_iter().flat_map(|piece| shape.records(Node(255), piece, 0)).collect::<Vec<_>>()
            };
            let mut engine = engine();
            for Outgoing { partition_key, data, .. } in sent().into_iter().chain(sent()) {
                assert!(data.ends_with(b"\n"));
                let arrival = Timestamp::from_millis(0);
                engine.push(Record { partition_key: &partition_key, data: &data, arrival });
            }
            let counters = engine.counters();
            assert_eq!(
                (counters.read, counters.records_without_provenance),
                (4, 0),
                "{terminator} {missing}"
            );
            let found = (counters.counted, counters.malformed_lines(), counters.duplicate);
            assert_eq!(found, (1, 1, 2), "{terminator} {missing}");
        }
    }
}
