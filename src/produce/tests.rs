//! The order of storing and sending, by a writer that notes what it is given.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    backend::{
        Outgoing, Result, SourceState,
        embedded::{self, Embedded},
    },
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
    type Packed = Append;

    fn pack(&self, append: Append) -> impl Future<Output = Result<Append>> + Send + use<> {
        std::future::ready(Ok(append))
    }

    async fn store(&mut self, append: Append) -> Result<()> {
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
    for read in [read(0, true), read(2, false)] {
        let ready = sending.send(None, read).await.unwrap();
        sending.store(Some(ready)).await.unwrap();
    }
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
async fn of_a_generation_that_is_forgotten_nothing_is_remembered() {
    let (mut sending, _acknowledged) = sending(usize::MAX);
    let forgotten = Read { pieces: Vec::new(), born: Vec::new(), states: vec![(7, Vec::new())] };
    for (read, remembered) in [(read(0, true), 1), (forgotten, 0)] {
        let ready = sending.send(None, read).await.unwrap();
        sending.store(Some(ready)).await.unwrap();
        assert_eq!(sending.acked.len(), remembered);
    }
}

#[tokio::test]
async fn what_was_not_stored_is_neither_sent_nor_advertised() {
    for until in 0..2 {
        let (mut sending, acknowledged) = sending(until);
        let ready = sending.send(None, read(0, true)).await.unwrap();
        assert!(sending.store(Some(ready)).await.is_err());
        assert!(sending.writer.given.iter().all(|(keys, _)| keys.is_empty()), "nothing was sent");
        assert!(sending.acked.is_empty() && acknowledged.try_iter().next().is_none());
    }
}

/// Turns of reading are counted by the clock, which each of them asks once.
async fn reads_while_the_stream_is_full() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("access.log");
    std::fs::write(&log, "0123456\n".repeat((READS_IN_FLIGHT + 8) * READ_BYTES / 8)).unwrap();
    let state = embedded::Settings::new(root.path().join("state.db"), Clock::system());
    let full = Embedded::open(embedded::Settings { max_bytes: 1, ..state }).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let asking = Arc::clone(&asked);
    let settings = Settings {
        input: Input::Files(tail::Settings::new(vec![log.to_str().unwrap().to_owned()])),
        limits: Limits { bytes: 512 * 1_024, lines: 1_000_000, age_ms: 0 },
        clock: Clock::from_fn(move || {
            asking.fetch_add(1, Ordering::SeqCst);
            Clock::system().now()
        }),
    };
    let (stopper, stop) = channel();
    let mut producing = JoinSet::new();
    producing.spawn(async move { run(&full, settings, stop).await });
    // One read is being sent, one may be ready, one waits to be handed over, and the files were opened before.
    let most = READS_IN_FLIGHT + 3 + 1;
    while asked.load(Ordering::SeqCst) < most - 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Long enough for a reader that did not wait to be wrong; one that waits passes whatever the time.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(asked.load(Ordering::SeqCst) <= most);
    stopper.set(Phase::Stop);
    producing.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn past_the_bound_on_reads_the_task_that_reads_waits() {
    reads_while_the_stream_is_full().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_bound_on_reads_the_thread_that_reads_waits() {
    reads_while_the_stream_is_full().await;
}
