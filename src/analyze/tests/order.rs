//! In which order a shard is read, saved and sent, call by call, where a cut and what it sends are two transactions.

use super::{super::shard::Worker, scripted::Scripted, *};
use crate::backend::{Incoming, Loss, work::Ended};

fn id(name: &str) -> ShardId {
    ShardId(name.to_owned())
}

fn shard(name: &str, parents: &[&str]) -> Shard {
    Shard {
        id: id(name),
        first_hash: 1,
        last_hash: u128::MAX,
        parents: parents.iter().map(|name| id(name)).collect(),
        closed: false,
    }
}

/// A line of the window that begins at [`NOW_MS`]; the shard is complete to some milliseconds after that.
fn line(complete_ms: i64) -> Batch {
    let arrival = Timestamp::from_millis(NOW_MS);
    let sequence = SequenceNumber(complete_ms.to_string());
    let data = format!("10.0.0.1 {NOW_MS} 200 1\n").into_bytes().into();
    let record = Incoming { sequence: sequence.clone(), partition_key: "key".to_owned(), arrival, data };
    Batch { records: vec![record], through: Some(sequence), ..nothing(complete_ms) }
}

fn nothing(complete_ms: i64) -> Batch {
    Batch {
        records: Vec::new(),
        through: None,
        complete_to: Timestamp::from_millis(NOW_MS + complete_ms),
        behind_ms: 1,
        end_of_shard: false,
    }
}

/// Past the end of the window, and its lateness.
const OVER_MS: i64 = 310_000;

/// Reads the shard to the tip of what the script gives. Whatever changed a cut is saved at once.
async fn drain_with(script: &Scripted, shard: &Shard, settings: Settings) -> Result<Ended, AnalyzeError> {
    drain_in(script, shard, Settings { checkpoint_interval_ms: 0, ..settings }).await
}

/// Saves as the settings say.
async fn drain_in(script: &Scripted, shard: &Shard, settings: Settings) -> Result<Ended, AnalyzeError> {
    let (stopper, stop) = channel();
    stopper.set(Phase::Drain);
    let settings = Settings { correction_interval_ms: 60_000, ..settings };
    let worker = Worker { backend: script.clone(), store: script.clone(), settings, epoch: 1, stop };
    worker.run(shard.clone()).await
}

async fn drain(script: &Scripted, shard: &Shard) -> Result<Ended, AnalyzeError> {
    drain_with(script, shard, settings()).await
}

#[tokio::test(start_paused = true)]
async fn rows_are_saved_then_sent_then_cleared_and_what_changes_nothing_is_not_saved() {
    let (script, one) = (Scripted::default(), shard("one", &[]));
    script.give([line(0), nothing(1), nothing(OVER_MS), nothing(OVER_MS + 1)]);
    assert_eq!(drain(&script, &one).await.unwrap(), Ended::Stopped);
    let sent = "p/1/one/1/0 p/1/one/1/1";
    let (saved, sent) = (format!("save {sent}"), format!("send {sent}"));
    let expected = ["read", "save", "read", "read", &saved, &sent, "read", "read", "save"];
    assert_eq!(script.calls(), expected);
    assert!(script.cut(&one.id).outbox.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_save_has_sent_itself_is_not_sent_again() {
    let (script, one) = (Scripted::default(), shard("one", &[]));
    script.send_with_each_save();
    script.give([line(0), nothing(OVER_MS), line(OVER_MS + 1)]);
    drain(&script, &one).await.unwrap();
    let calls = script.calls();
    let saved = "save p/1/one/1/0 p/1/one/1/1";
    assert_eq!(calls[..6], ["read", "save", "read", saved, "read", "save"]);
    // What the drain publishes is another cut, and of that alone.
    assert_eq!(calls[6..], ["read", "save p/1/one/2/0", "save"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_cut_had_still_to_send_is_sent_before_anything_is_read() {
    let (script, one) = (Scripted::default(), shard("one", &[]));
    script.give([line(0), nothing(OVER_MS)]);
    script.refuse_appends(true);
    assert!(drain(&script, &one).await.is_err());
    let sent = "send p/1/one/1/0 p/1/one/1/1";
    assert_eq!(script.calls().last().unwrap(), sent);
    script.refuse_appends(false);
    drain(&script, &one).await.unwrap();
    assert_eq!(script.calls(), [sent, "read", "save"]);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_a_shard_what_its_windows_hold_is_saved_sent_and_saved_as_sent() {
    let (script, one) = (Scripted::default(), shard("one", &[]));
    script.give([Batch { end_of_shard: true, ..line(0) }]);
    script.refuse_appends(true);
    assert!(drain(&script, &one).await.is_err());
    let rows = "p/1/one/1/0 p/1/one/1/1";
    assert_eq!(script.calls(), ["read".to_owned(), format!("save end {rows}"), format!("send {rows}")]);
    let cut = script.cut(&one.id);
    assert_eq!((cut.state.published, cut.ended, cut.outbox.len()), (1, true, 2));
    // Whoever comes next sends it, and says that it was sent: the children wait for that.
    script.refuse_appends(false);
    assert_eq!(drain(&script, &one).await.unwrap(), Ended::EndOfShard);
    assert_eq!(script.calls(), [format!("send {rows}"), "save end".to_owned()]);
    assert_eq!(drain(&script, &one).await.unwrap(), Ended::EndOfShard);
    assert_eq!(script.calls(), [""; 0]);
    // The same without a failure between.
    script.give([Batch { end_of_shard: true, ..line(0) }]);
    let two = shard("two", &[]);
    drain(&script, &two).await.unwrap();
    let rows = rows.replace("one", "two");
    let expected =
        ["read".to_owned(), format!("save end {rows}"), format!("send {rows}"), "save end".to_owned()];
    assert_eq!(script.calls(), expected);
}

#[tokio::test(start_paused = true)]
async fn of_a_parent_that_left_the_list_what_its_windows_hold_is_sent_before_its_child_is_read() {
    let (script, child) = (Scripted::default(), shard("child", &["parent"]));
    script.give([line(0)]);
    drain(&script, &shard("parent", &[])).await.unwrap();
    script.calls();
    let accepting = Settings { accept_loss: true, ..settings() };
    drain_with(&script, &child, accepting.clone()).await.unwrap();
    let rows = "p/1/parent/1/0 p/1/parent/1/1";
    let (saved, sent) = (format!("save end {rows}"), format!("send {rows}"));
    assert_eq!(script.calls(), [&saved, &sent, "save end", "read", "save"]);
    assert_eq!(script.cut(&id("parent")).state.published, 1);
    // It is closed, and its child has begun.
    drain_with(&script, &child, accepting).await.unwrap();
    assert_eq!(script.calls(), ["read", "save"]);
}

/// What was read can be read no more, and was not saved yet.
#[tokio::test(start_paused = true)]
async fn what_was_read_before_retention_overtook_the_reader_is_saved() {
    let overtaken = |bytes| {
        let loss = Loss { records: Some(3), bytes, arrivals: None };
        BackendError::Gone { why: "gone".to_owned(), loss }
    };
    let (script, one) = (Scripted::default(), shard("one", &[]));
    script.give([line(0)]);
    script.fail_to_read(overtaken(None), 100);
    let seldom = Settings { checkpoint_interval_ms: 60_000, ..settings() };
    let ended = drain_in(&script, &one, seldom.clone()).await;
    assert!(matches!(ended, Err(AnalyzeError::Backend(BackendError::Gone { .. }))), "{ended:?}");
    assert_eq!(script.calls(), ["read", "read", "save"]);
    let read = script.cut(&one.id).state.counters;
    assert_eq!((read.read, read.expired_records), (1, 0));

    // What was lost is what was deleted, and not read.
    script.fail_to_open(overtaken(Some(1)));
    drain_in(&script, &one, Settings { accept_loss: true, ..seldom }).await.unwrap();
    let now = script.cut(&one.id).state.counters;
    assert_eq!((now.read, now.expired_records, now.bytes()), (1, 3, 100));
}

#[tokio::test(start_paused = true)]
async fn what_passed_retention_and_what_another_window_closes_is_saved_though_nothing_else_comes() {
    let (script, one) = (Scripted::default(), shard("one", &[]));
    let loss = Loss { records: Some(3), bytes: Some(70), arrivals: None };
    script.fail_to_open(BackendError::Gone { why: "gone".to_owned(), loss });
    script.give([nothing(0), nothing(1)]);
    drain_with(&script, &one, Settings { accept_loss: true, ..settings() }).await.unwrap();
    assert_eq!(script.calls(), ["read", "save", "read", "read", "save"]);
    let counters = script.cut(&one.id).state.counters;
    assert_eq!((counters.expired_records, counters.expired_bytes), (3, 70));

    script.give([line(2)]);
    drain(&script, &one).await.unwrap();
    script.calls();
    script.give([nothing(3), nothing(4)]);
    let larger =
        Plan { window: WindowSize::from_millis(600_000).unwrap(), ..settings().plan.as_ref().clone() };
    drain_with(&script, &one, Settings { plan: Arc::new(larger), ..settings() }).await.unwrap();
    let rows = "p/1/one/1/0 p/1/one/1/1";
    let (saved, sent) = (format!("save {rows}"), format!("send {rows}"));
    assert_eq!(script.calls(), ["read", &saved, &sent, "read", "read", "save"]);
}
