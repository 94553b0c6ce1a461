//! What retention takes before it is delivered: an embedded file, read when the test lets it. Breaks no port.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use tokio::{sync::Semaphore, task::JoinSet};

use super::*;
use crate::{
    backend::{
        Append, Backlog, Datum, Outgoing, Result, StreamReader, StreamWriter,
        embedded::{Embedded, Settings},
    },
    clock::Clock,
    engine::{metric::REQUEST_COUNT, time::Timestamp},
    stop::{Phase, channel},
};

/// A file whose readers read once they may.
#[derive(Clone)]
struct Held {
    file: Embedded,
    may_read: Arc<Semaphore>,
    opened: Arc<AtomicUsize>,
}

struct HeldReader {
    reader: <Embedded as Backend>::Reader,
    may_read: Arc<Semaphore>,
}

impl StreamReader for HeldReader {
    fn drain(&mut self) {
        self.reader.drain();
    }

    async fn next_batch(&mut self) -> Result<Batch> {
        drop(self.may_read.acquire().await);
        self.reader.next_batch().await
    }
}

impl Backend for Held {
    type Writer = <Embedded as Backend>::Writer;
    type Reader = HeldReader;
    type Checkpoints = <Embedded as Backend>::Checkpoints;
    type Metrics = <Embedded as Backend>::Metrics;
    type Reference = <Embedded as Backend>::Reference;

    async fn shards(&self, stream: Stream) -> Result<Vec<crate::backend::Shard>> {
        self.file.shards(stream).await
    }

    async fn writer(&self, stream: Stream) -> Result<Self::Writer> {
        self.file.writer(stream).await
    }

    async fn reader(&self, stream: Stream, shard: &ShardId, start: StartAt) -> Result<HeldReader> {
        let reader = self.file.reader(stream, shard, start).await?;
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(HeldReader { reader, may_read: Arc::clone(&self.may_read) })
    }

    async fn backlog(
        &self,
        stream: Stream,
        shard: &ShardId,
        after: Option<&SequenceNumber>,
    ) -> Result<Backlog> {
        self.file.backlog(stream, shard, after).await
    }

    async fn checkpoints(&self, stage: Stage) -> Result<Self::Checkpoints> {
        self.file.checkpoints(stage).await
    }

    async fn metrics(&self) -> Result<Self::Metrics> {
        self.file.metrics().await
    }

    async fn read_metrics(&self, name: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Datum>> {
        self.file.read_metrics(name, from, to).await
    }

    async fn reference(&self, location: &str) -> Result<Self::Reference> {
        self.file.reference(location).await
    }
}

/// The process that appends, and the time.
struct Rig {
    file: Embedded,
    now: Arc<AtomicI64>,
    rows: u64,
}

impl Rig {
    async fn append(&mut self, rows: u64) {
        let mut writer = self.file.writer(Stream::Output).await.unwrap();
        for _ in 0..rows {
            self.rows += 1;
            let row = Row {
                row_id: format!("p/1/s/{}/0", self.rows),
                window_start: Timestamp::from_millis(1_800_000_000_000),
                window_end: Timestamp::from_millis(1_800_000_300_000),
                revision: 0,
                application_name: "Billing".to_owned(),
                contact: String::new(),
                response: Some(200),
                response_count: 1,
                bytes: 0,
                top_hosts: Vec::new(),
            };
            let data = serde_json::to_vec(&row).unwrap().into();
            let record = Outgoing { partition_key: row.row_id, hash_key: None, data };
            writer.append(Append { records: vec![record], sources: Vec::new() }).await.unwrap();
        }
    }

    /// What was there is gone, and there are new rows; returns how many those are.
    async fn a_day_passes(&mut self) -> u64 {
        self.now.fetch_add(25 * 3_600_000, Ordering::SeqCst);
        let (before, mut gone) = (self.rows, 0);
        while gone < before {
            // What is unread is kept for a while after such a jump.
            self.now.fetch_add(60_000, Ordering::SeqCst);
            self.append(1).await;
            let stats = self.file.stream_stats(Stream::Output).await.unwrap();
            gone = stats.iter().map(|shard| shard.appended_records - shard.records).sum();
        }
        self.rows - before
    }
}

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The losses that were told since the last look.
    fn losses(&self) -> Vec<String> {
        let logged = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        let told = logged.lines().filter_map(|line| line.split_once("retention before delivery: "));
        told.map(|(_, loss)| loss.split(" of ").next().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn rows_that_retention_takes_before_delivery_are_told_and_the_others_published() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    // Two dispatchers, so that tracing asks both threads whether anybody listens, and not the first one only.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();

    let root = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_800_000_000_000));
    let open = || {
        let now = Arc::clone(&now);
        let clock = Clock::from_fn(move || Timestamp::from_millis(now.load(Ordering::SeqCst)));
        let path = root.path().join("state.db");
        Embedded::open(Settings { tip_wait_ms: 10, ..Settings::new(path, clock) })
    };
    let mut rig = Rig { file: open().await.unwrap(), now: Arc::clone(&now), rows: 0 };
    let (may_read, opened) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let held =
        Held { file: open().await.unwrap(), may_read: Arc::clone(&may_read), opened: Arc::clone(&opened) };
    let deliver = |tasks: &mut JoinSet<Result<()>>| {
        let (stopper, stop) = channel();
        let held = held.clone();
        tasks.spawn(async move { run(&held, stop).await });
        stopper
    };

    // Overtaken before anything was read.
    let mut tasks = JoinSet::new();
    let stopper = deliver(&mut tasks);
    while opened.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    rig.append(5).await;
    let mut kept = rig.a_day_passes().await;
    may_read.add_permits(1);
    stopper.set(Phase::Drain);
    tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(lines.losses(), ["5 records"]);

    // Away for a day.
    rig.append(3).await;
    kept += rig.a_day_passes().await;
    let stopper = deliver(&mut tasks);
    stopper.set(Phase::Drain);
    tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(lines.losses(), ["3 records"]);

    let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(2_000_000_000_000));
    let published = held.read_metrics(REQUEST_COUNT, from, to).await.unwrap();
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let kept = kept as f64;
    assert_eq!(published.iter().map(|datum| datum.value).collect::<Vec<_>>(), [kept]);
}
