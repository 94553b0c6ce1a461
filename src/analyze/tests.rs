//! What the tests of this stage share, and a clock that is set back under a shard that is read. Breaks no port.

mod order;
mod scripted;

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tokio::{task::JoinSet, time::timeout};

use super::*;
use crate::{
    backend::{
        Append, Outgoing, StartAt, StreamReader, StreamWriter,
        embedded::{self, Embedded},
    },
    clock::Clock,
    engine::{
        count::TimeSource,
        format::LogFormat,
        parcel::unpack,
        row::Output,
        time::{Timestamp, WindowSize},
    },
    stop::{Phase, channel},
};

const NOW_MS: i64 = 1_800_000_000_000;
const DAY_MS: i64 = 86_400_000;
/// What only a broken pipeline takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn settings() -> Settings {
    let format = LogFormat::compile("%h %{msec}t %>s %b").unwrap();
    let plan = Plan { format, window: WindowSize::FIVE_MINUTES, time: TimeSource::Event };
    let reference = Reference::parse(b"Host,ApplicationName,Contact\n").unwrap().reference;
    Settings {
        pipeline: "p".to_owned(),
        plan: Arc::new(plan),
        reference: watch::channel(Arc::new(reference)).1,
        allowed_lateness_ms: 10_000,
        correction_interval_ms: 100,
        checkpoint_interval_ms: 10,
        top_hosts: 0,
        from: StartMode::LastStoppedPoint,
        recount: false,
        accept_loss: false,
        first_epoch: 1,
        board: Arc::default(),
    }
}

async fn append(file: &Embedded, stamp_ms: i64) {
    let data = format!("10.0.0.1 {stamp_ms} 200 1\n").into_bytes().into();
    let record = Outgoing { partition_key: "key".to_owned(), hash_key: None, data };
    let append = Append { records: vec![record], sources: Vec::new() };
    file.writer(Stream::Input).await.unwrap().append(append).await.unwrap();
}

/// Reads rows until there is one of the window with this start, in milliseconds, that counts something.
async fn row_of(output: &mut <Embedded as Backend>::Reader, start_ms: i64) {
    loop {
        for record in output.next_batch().await.unwrap().records {
            let start = Timestamp::from_millis(start_ms);
            let is_it = |row: &Output| matches!(row, Output::Row(row) if row.window_start == start && row.response_count > 0);
            if unpack(&record.data).rows.iter().any(is_it) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn what_is_late_because_the_clock_was_set_back_does_not_wait_until_it_is_there_again() {
    let root = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(NOW_MS + DAY_MS));
    let shown = Arc::clone(&now);
    let clock = Clock::from_fn(move || Timestamp::from_millis(shown.load(Ordering::SeqCst)));
    let file = embedded::Settings {
        input_shards: 1,
        tip_wait_ms: 10,
        ..embedded::Settings::new(root.path().join("state.db"), clock)
    };
    let file = Embedded::open(file).await.unwrap();
    let output = file.shards(Stream::Output).await.unwrap().remove(0).id;
    let mut output = file.reader(Stream::Output, &output, StartAt::TrimHorizon).await.unwrap();
    append(&file, NOW_MS + DAY_MS).await;
    let settings = settings();
    let (board, (stopper, stop)) = (Arc::clone(&settings.board), channel());
    let (mut tasks, analyzed) = (JoinSet::new(), file.clone());
    tasks.spawn(async move { run(&analyzed, settings, stop).await });
    while board.iter().all(|shard| shard.read == 0) {
        tokio::task::yield_now().await;
    }
    now.store(NOW_MS, Ordering::SeqCst);
    append(&file, NOW_MS).await;
    timeout(PATIENCE, row_of(&mut output, NOW_MS)).await.expect("the line of the earlier window is counted");
    stopper.set(Phase::Drain);
    tasks.join_next().await.unwrap().unwrap().unwrap();
}
