//! The order of storing and sending, by a writer that notes what it is given.

use crate::{
    backend::{Outgoing, Result, SourceState},
    stop::channel,
    tail::Piece,
};

use super::*;

/// Keys of records, and the states of sources.
type Given = (Vec<String>, Vec<tail::State>);

/// Fails once it was given so much as `until`.
#[derive(Debug)]
struct Notes {
    given: Vec<Given>,
    until: usize,
}

impl StreamWriter for Notes {
    async fn append(&mut self, append: Append) -> Result<()> {
        if self.given.len() >= self.until {
            return Err(BackendError::Closed { why: "enough".to_owned() });
        }
        let keys = append.records.into_iter().map(|Outgoing { partition_key, .. }| partition_key).collect();
        let sources = append.sources.into_iter().map(|SourceState { generation, state }| (generation, state));
        self.given.push((keys, sources.collect()));
        Ok(())
    }

    fn node(&self) -> Node {
        Node(255)
    }

    async fn sources(&mut self) -> Result<Vec<SourceState>> {
        Ok(Vec::new())
    }
}

fn read(start: u64, born: bool) -> Read {
    let state = |text: &str| vec![(7, text.as_bytes().to_vec())];
    Read {
        pieces: vec![Piece { generation: 7, start, end: start + 2, data: b"a\n".to_vec() }],
        born: if born { state("born") } else { Vec::new() },
        states: state("read"),
    }
}

fn sending(until: usize) -> (Sending<Notes>, std::sync::mpsc::Receiver<(u64, u64)>) {
    let (durable, acknowledged) = std::sync::mpsc::channel();
    let sending = Sending {
        node: Node(255),
        writer: Notes { given: Vec::new(), until },
        acked: BTreeMap::new(),
        durable,
        shape: Shape::Lines(Limits { bytes: 512 * 1_024, lines: 10_000, age_ms: 0 }),
        read_bytes: 0,
        sent_bytes: 0,
        stop: channel().1,
    };
    (sending, acknowledged)
}

#[tokio::test]
async fn a_generation_is_stored_before_its_first_byte_and_a_position_before_it_is_advertised() {
    let (mut sending, acknowledged) = sending(usize::MAX);
    sending.send(read(0, true)).await.unwrap();
    sending.send(read(2, false)).await.unwrap();
    let stored = |text: &str| vec![(7, text.as_bytes().to_vec())];
    let record = |key: &str| vec![key.to_owned()];
    let wanted = [
        (Vec::new(), stored("born")),
        (record("00000000000000ff.7.0-2.0"), stored("read")),
        (record("00000000000000ff.7.2-4.2"), stored("read")),
    ];
    assert_eq!(sending.writer.given, wanted);
    assert_eq!(acknowledged.try_iter().collect::<Vec<_>>(), [(7, 2), (7, 4)]);
}

#[tokio::test]
async fn what_was_not_stored_is_neither_sent_nor_advertised() {
    for until in 0..2 {
        let (mut sending, acknowledged) = sending(until);
        assert!(sending.send(read(0, true)).await.is_err());
        assert!(sending.writer.given.iter().all(|(keys, _)| keys.is_empty()), "nothing was sent");
        assert!(sending.acked.is_empty() && acknowledged.try_iter().next().is_none());
    }
}
