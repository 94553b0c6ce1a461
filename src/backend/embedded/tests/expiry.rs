//! What passes retention before its consumer read it: the books, the message, and the way on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use super::{
    Sandbox, append,
    bounds::{first, passed},
};
use crate::{
    backend::{
        Backend, BackendError, CheckpointStore, Loss, SequenceNumber, Stage, StartAt, Stream, StreamReader,
        embedded::{Checkpoints, Embedded, Settings, ShardStats, group::Tx, retention},
    },
    clock::Clock,
    engine::time::Timestamp,
};

type Now = Arc<AtomicI64>;

/// The file, opened by processes that share a clock.
async fn open<const N: usize>(sandbox: &Sandbox) -> ([Embedded; N], Now) {
    let now = Arc::new(AtomicI64::new(1_800_000_000_000));
    let mut opened = Vec::new();
    for _ in 0..N {
        let time = Arc::clone(&now);
        let clock = Clock::from_fn(move || Timestamp::from_millis(time.load(Ordering::SeqCst)));
        opened.push(Embedded::open(Settings { clock, ..sandbox.settings() }).await.unwrap());
    }
    (opened.try_into().unwrap(), now)
}

async fn append_five(backend: &Embedded, now: &Now) {
    for _ in 0..5 {
        append(backend, Stream::Input, b"line\n".repeat(200)).await.unwrap();
        now.fetch_add(1_000, Ordering::SeqCst);
    }
}

/// What was there is gone, and there is something new.
async fn a_day_passes(backend: &Embedded, now: &Now) {
    now.fetch_add(24 * 3_600_000, Ordering::SeqCst);
    while books(backend).await.expired_records == 0 {
        append(backend, Stream::Input, b"new\n".to_vec()).await.unwrap();
        now.fetch_add(60_000, Ordering::SeqCst);
    }
}

/// Five records, the first two passed by `analyze`, and then a day later: the first five are gone.
async fn a_day_later(sandbox: &Sandbox) -> (Embedded, Checkpoints) {
    let ([backend], now) = open(sandbox).await;
    let analyze = backend.checkpoints(Stage::Analyze).await.unwrap();
    append_five(&backend, &now).await;
    analyze.save(&first(), passed("2"), Vec::new()).await.unwrap();
    a_day_passes(&backend, &now).await;
    (backend, analyze)
}

async fn books(backend: &Embedded) -> ShardStats {
    backend.stream_stats(Stream::Input).await.unwrap().remove(0)
}

fn loss() -> Loss {
    Loss {
        records: Some(3),
        bytes: Some(3_000),
        arrivals: Some((
            Timestamp::from_millis(1_800_000_002_000),
            Timestamp::from_millis(1_800_000_004_000),
        )),
    }
}

#[tokio::test]
async fn what_expires_unread_is_in_the_books_until_the_consumer_goes_on() {
    let sandbox = Sandbox::new();
    let (backend, analyze) = a_day_later(&sandbox).await;
    let stats = books(&backend).await;
    assert_eq!((stats.expired_records, stats.expired_bytes, stats.gap), (3, 3_000, Some(loss())));

    let mut reader = backend.reader(Stream::Input, &first(), StartAt::TrimHorizon).await.unwrap();
    let through = reader.next_batch().await.unwrap().through.unwrap();
    analyze.save(&first(), passed(&through.0), Vec::new()).await.unwrap();
    let stats = books(&backend).await;
    assert_eq!((stats.expired_records, stats.gap), (3, None), "the loss stays known, the gap is behind");
    assert_eq!(stats.appended_records, stats.records + 5);
    let checkpoint = &backend.stored_checkpoints().await.unwrap()[0];
    assert_eq!((checkpoint.stage, &checkpoint.checkpoint), (Stage::Analyze, &passed(&through.0)));
}

#[tokio::test]
async fn a_position_that_is_gone_or_never_was_is_refused_in_words() {
    let sandbox = Sandbox::new();
    let (backend, _analyze) = a_day_later(&sandbox).await;
    let open = async |position: &str| {
        let start = StartAt::After(SequenceNumber(position.to_owned()));
        backend.reader(Stream::Input, &first(), start).await
    };
    let opened = open("2").await;
    assert!(matches!(&opened, Err(BackendError::Gone { loss: found, .. }) if *found == loss()));
    insta::assert_snapshot!(
        sandbox.message(opened),
        @"gone: shardId-000000000000 of the input stream no longer holds what follows position 2: 3 records of 3000 bytes, arrived 2027-01-15T08:00:02Z to 2027-01-15T08:00:04Z, passed retention unread; --accept-loss goes on with the oldest record kept"
    );
    insta::assert_snapshot!(
        sandbox.message(open("4").await),
        @"gone: shardId-000000000000 of the input stream no longer holds what follows position 4: 1 record passed retention unread; --accept-loss goes on with the oldest record kept"
    );
    let last = books(&backend).await.appended_records.to_string();
    insta::assert_snapshot!(
        sandbox.message(open("100000").await).replace(&format!("position {last},"), "position N,"),
        @"failed: shardId-000000000000 of the input stream ends at position N, before 100000: it is another file than the one the position is from"
    );
    insta::assert_snapshot!(
        sandbox.message(open("49590338271490256608559692538361571095921575989136588898").await),
        @r#"failed: "49590338271490256608559692538361571095921575989136588898" is no position in the input stream"#
    );
    assert!(open("5").await.is_ok());
    assert!(open(&last).await.is_ok());
    assert!(open("-1").await.is_err());
}

#[tokio::test]
async fn a_sweep_is_due_when_the_oldest_record_is_past_retention_and_not_before() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    let look = async || {
        let bounds = backend.store.bounds.clone();
        let look = move |tx: &mut Tx<'_>| {
            let due = retention::next_due(tx.conn, &bounds)?;
            let sweep = |at| retention::sweep(tx.conn, &bounds, (at, false), 10).map(|(deleted, _)| deleted);
            let deleted = due.map(|due| Ok::<_, rusqlite::Error>((sweep(due.plus_millis(-1))?, sweep(due)?)));
            Ok((due, deleted.transpose()?))
        };
        backend.store.write(0, look).await.unwrap()
    };
    assert_eq!(look().await, (None, None), "nothing is kept");
    append(&backend, Stream::Input, b"line\n".to_vec()).await.unwrap();
    let due = backend.store.clock.now().plus_millis(backend.store.bounds.retention_ms + 1);
    assert_eq!(look().await, (Some(due), Some((0, 1))));
    assert_eq!(look().await, (None, None));
}

/// The clock was set forward by a day, or nobody was there for one: only what was read goes at once.
#[tokio::test]
async fn what_a_jump_of_the_clock_makes_old_is_kept_for_who_has_not_read_it() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    let analyze = backend.checkpoints(Stage::Analyze).await.unwrap();
    for _ in 0..5 {
        append(&backend, Stream::Input, b"line\n".to_vec()).await.unwrap();
    }
    analyze.save(&first(), passed("2"), Vec::new()).await.unwrap();
    let due = backend.store.clock.now().plus_millis(2 * backend.store.bounds.retention_ms);
    let sweep = async |spares_unread| {
        let bounds = backend.store.bounds.clone();
        let sweep = move |tx: &mut Tx<'_>| Ok(retention::sweep(tx.conn, &bounds, (due, spares_unread), 10)?);
        let deleted = backend.store.write(0, sweep).await.unwrap();
        (deleted, books(&backend).await.expired_records)
    };
    assert_eq!(sweep(true).await, ((2, true), 0));
    assert_eq!(sweep(true).await, ((0, false), 0));
    assert_eq!(sweep(false).await, ((3, true), 3));
}

/// A reader at the tip asks the writing thread again and again, which so never rests.
#[tokio::test]
async fn what_is_past_retention_goes_while_a_reader_waits_at_the_tip() {
    let sandbox = Sandbox::new();
    let ([backend], now) = open(&sandbox).await;
    append_five(&backend, &now).await;
    backend.checkpoints(Stage::Analyze).await.unwrap().save(&first(), passed("5"), Vec::new()).await.unwrap();
    let last = StartAt::After(SequenceNumber("5".to_owned()));
    let mut reader = backend.reader(Stream::Input, &first(), last).await.unwrap();
    now.fetch_add(24 * 3_600_000, Ordering::SeqCst);
    let gone = async {
        while books(&backend).await.records > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reading = async {
        loop {
            reader.next_batch().await.unwrap();
        }
    };
    tokio::select! {
        () = reading => unreachable!(),
        gone = tokio::time::timeout(Duration::from_mins(1), gone) => gone.unwrap(),
    }
}

/// In a stream that goes on there is always a record that has just become old.
#[tokio::test]
async fn a_sweep_that_finds_records_forgets_other_things_too() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    append(&backend, Stream::Input, b"line\n".to_vec()).await.unwrap();
    let due = backend.store.clock.now().plus_millis(backend.store.bounds.retention_ms + 1);
    let bounds = backend.store.bounds.clone();
    let sweep = move |tx: &mut Tx<'_>| {
        tx.conn.execute("INSERT INTO parcel(id, at) VALUES('old', 0)", [])?;
        let (deleted, _) = retention::sweep(tx.conn, &bounds, (due, false), 10)?;
        let parcels: i64 = tx.conn.query_row("SELECT count(*) FROM parcel", [], |row| row.get(0))?;
        Ok((deleted, parcels))
    };
    assert_eq!(backend.store.write(0, sweep).await.unwrap(), (1, 0));
}

/// What another process appends is read from the file only.
#[tokio::test]
async fn who_starts_at_the_horizon_and_is_overtaken_by_retention_is_told_of_the_loss() {
    let sandbox = Sandbox::new();
    let ([writing, reading], now) = open(&sandbox).await;
    append_five(&writing, &now).await;
    let horizon = async || reading.reader(Stream::Input, &first(), StartAt::TrimHorizon).await.unwrap();
    let mut reader = horizon().await;
    a_day_passes(&writing, &now).await;
    insta::assert_snapshot!(
        sandbox.message(reader.next_batch().await),
        @"gone: shardId-000000000000 of the input stream no longer holds what follows position 0: 5 records of 5000 bytes, arrived 2027-01-15T08:00:00Z to 2027-01-15T08:00:04Z, passed retention unread; --accept-loss goes on with the oldest record kept"
    );
    let batch = horizon().await.next_batch().await.unwrap();
    assert_eq!(batch.records[0].sequence, SequenceNumber("6".to_owned()));
}
