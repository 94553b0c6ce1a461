//! How many calls to Kinesis a writer makes at a time. What becomes of their records is in `kinesis`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use logtally::{
    backend::{
        Append, Backend, Outgoing, Stream, StreamWriter,
        aws::{Aws, Clients, Settings},
    },
    clock::Clock,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{bridge::until, stub::Stub};

/// As `backend::aws::put::CALLS` has it, with records of `MOST_RECORDS` each.
const CALLS: usize = 4;
const RECORDS_OF_A_CALL: usize = 500;

/// Calls that are being answered, the most there were, and whether they may be.
#[derive(Default)]
struct Calls {
    now: AtomicUsize,
    most: AtomicUsize,
    answered: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 10)]
async fn so_many_calls_are_made_at_once_and_the_rest_waits() {
    let calls = Arc::new(Calls::default());
    let service = Arc::clone(&calls);
    let stub = Stub::start(move |operation, body| {
        if operation == "DescribeStreamSummary" {
            let summary = json!({
                "StreamName": "s", "StreamARN": "arn", "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24,
                "StreamCreationTimestamp": 1, "EnhancedMonitoring": [], "OpenShardCount": 1,
            });
            return (200, json!({"StreamDescriptionSummary": summary}));
        }
        let now = service.now.fetch_add(1, Ordering::SeqCst) + 1;
        service.most.fetch_max(now, Ordering::SeqCst);
        // In place, so that the thread's other tasks move on: one of them may be what waits for all sockets and times.
        tokio::task::block_in_place(|| {
            while !service.answered.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        service.now.fetch_sub(1, Ordering::SeqCst);
        let taken = json!({"SequenceNumber": "1", "ShardId": "shardId-000000000000"});
        let taken: Vec<Value> = body["Records"].as_array().unwrap().iter().map(|_| taken.clone()).collect();
        (200, json!({"FailedRecordCount": 0, "Records": taken}))
    })
    .await;
    let aws = Aws::open(Clients::new(&stub.config), Settings::new("worker", Clock::system())).await.unwrap();
    let mut writer = aws.writer(Stream::Output).await.unwrap();
    let record = |index| Outgoing {
        partition_key: format!("key {index}"),
        hash_key: None,
        data: b"data".to_vec().into(),
    };
    let records = (0..(CALLS + 4) * RECORDS_OF_A_CALL).map(record).collect();
    let mut sending = JoinSet::new();
    sending.spawn(async move { writer.append(Append { records, sources: Vec::new() }).await });
    until("so many calls are made", || calls.now.load(Ordering::SeqCst) >= CALLS).await;
    // Long enough for a writer that did not wait to be wrong; one that waits passes whatever the time.
    tokio::time::sleep(Duration::from_millis(200)).await;
    calls.answered.store(true, Ordering::SeqCst);
    sending.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(calls.most.load(Ordering::SeqCst), CALLS, "also while they are answered");
}
