//! Faults while running: a full disk, damage, a job that fails among others.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    time::Duration,
};

use rusqlite::ffi;
use tokio::task::JoinSet;

use super::{Sandbox, append, noise};
use crate::{
    backend::{
        Backend, BackendError, StartAt, Stream, StreamReader,
        embedded::{
            Embedded, Settings,
            error::{Fault, refused},
            group::Tx,
        },
    },
    clock::Clock,
    engine::time::Timestamp,
};

/// Bounds the file as a full disk would.
async fn limit_pages(backend: &Embedded, pages: i64) {
    let limit = move |tx: &mut Tx<'_>| Ok(tx.conn.pragma_update(None, "max_page_count", pages)?);
    backend.store.write(0, limit).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    limit_pages(&backend, 80).await;
    let mut stored = 0;
    let full = loop {
        match append(&backend, Stream::Input, noise(100_000)).await {
            Ok(()) => stored += 1,
            full => break full,
        }
    };
    insta::assert_snapshot!(
        sandbox.message(full),
        @"busy: DIR/state.db: no space left; free some on its file system, nothing is lost meanwhile"
    );
    assert!(stored > 0);
    limit_pages(&backend, 1_000_000).await;
    append(&backend, Stream::Input, noise(100_000)).await.unwrap();
    let stats = backend.stream_stats(Stream::Input).await.unwrap();
    assert_eq!(stats[0].records, stored + 1, "the failed append left nothing behind");
    let shard = backend.shards(Stream::Input).await.unwrap()[0].id.clone();
    let mut reader = backend.reader(Stream::Input, &shard, StartAt::TrimHorizon).await.unwrap();
    let mut read = 0;
    while read < stored + 1 {
        read += reader.next_batch().await.unwrap().records.len() as u64;
    }
}

#[tokio::test]
async fn a_job_that_fails_takes_no_other_with_it() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    let (release, released) = mpsc::channel::<()>();
    let store = &backend.store;
    let blocker = store.write(0, move |_: &mut Tx<'_>| {
        released.recv().ok();
        Ok(())
    });
    let put = |key: &'static str| {
        store.write(0, move |tx: &mut Tx<'_>| {
            tx.conn.execute("INSERT INTO meta(key, value) VALUES(?1, '')", [key])?;
            Ok(())
        })
    };
    let sql = store.write(0, |tx: &mut Tx<'_>| {
        tx.conn.execute("INSERT INTO meta(key, value) VALUES('lost', '')", [])?;
        tx.conn.execute("INSERT INTO nowhere VALUES(1)", [])?;
        Ok(())
    });
    let ours = store.write(0, |tx: &mut Tx<'_>| -> Result<(), Fault> {
        tx.conn.execute("INSERT INTO meta(key, value) VALUES('lost too', '')", [])?;
        Err(refused("no").into())
    });
    let (_, first, sql, ours, last, ()) =
        tokio::join!(blocker, put("first"), sql, ours, put("last"), async {
            release.send(()).unwrap();
        });
    first.unwrap();
    last.unwrap();
    assert_eq!(sandbox.message(sql), "failed: DIR/state.db: no such table: nowhere");
    assert_eq!(sandbox.message(ours), "failed: no");
    let keys = "SELECT group_concat(key, ', ') FROM (SELECT key FROM meta ORDER BY key)";
    let keys: String = store.read(move |conn| Ok(conn.query_row(keys, [], |row| row.get(0))?)).await.unwrap();
    assert_eq!(keys, "first, last, machine, node");
}

#[tokio::test]
async fn a_transaction_that_sqlite_gives_up_fails_all_of_its_jobs() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    let store = &backend.store;
    let (release, released) = mpsc::channel::<()>();
    let blocker = store.write(0, move |_: &mut Tx<'_>| {
        released.recv().ok();
        Ok(())
    });
    let put = store.write(0, |tx: &mut Tx<'_>| {
        tx.conn.execute("INSERT INTO meta(key, value) VALUES('first', '')", [])?;
        Ok(())
    });
    let abort = store.write(0, |tx: &mut Tx<'_>| -> Result<(), Fault> {
        tx.conn.execute_batch("ROLLBACK")?;
        Err(Fault::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None)))
    });
    let (_, put, abort, ()) = tokio::join!(blocker, put, abort, async {
        release.send(()).unwrap();
    });
    for outcome in [put, abort] {
        assert!(matches!(outcome, Err(BackendError::Busy { .. })), "{outcome:?}");
    }
    append(&backend, Stream::Input, b"line\n".to_vec()).await.unwrap();
}

#[tokio::test]
async fn jobs_in_the_queue_are_done_when_the_last_handle_goes() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    let (release, released) = mpsc::channel::<()>();
    let (done, finished) = mpsc::channel::<()>();
    let mut tasks = JoinSet::new();
    let blocking = backend.clone();
    tasks.spawn(async move {
        let wait = move |_: &mut Tx<'_>| {
            released.recv().ok();
            Ok(())
        };
        blocking.store.write(0, wait).await
    });
    tokio::task::yield_now().await;
    tasks.spawn(async move {
        let tell = move |tx: &mut Tx<'_>| {
            tx.conn.execute("INSERT INTO meta(key, value) VALUES('late', '')", [])?;
            done.send(()).ok();
            Ok(())
        };
        backend.store.write(0, tell).await
    });
    tokio::task::yield_now().await;
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    release.send(()).unwrap();
    finished.recv().unwrap();
}

#[tokio::test]
async fn the_tip_is_not_complete_while_another_process_commits() {
    let sandbox = Sandbox::new();
    let (now, time) = (Arc::new(AtomicI64::new(1_000)), Arc::new(AtomicI64::new(0)));
    let clock = {
        let now = Arc::clone(&now);
        Clock::from_fn(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
    };
    let settings = Settings { clock, ..sandbox.settings() };
    let writing = Embedded::open(settings.clone()).await.unwrap();
    let reading = Embedded::open(settings).await.unwrap();
    let shard = reading.shards(Stream::Input).await.unwrap()[0].id.clone();
    let mut reader = reading.reader(Stream::Input, &shard, StartAt::TrimHorizon).await.unwrap();

    let (release, released) = mpsc::channel::<()>();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let stamp = Arc::clone(&time);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let slow = move |tx: &mut Tx<'_>| {
            stamp.store(tx.now.as_millis(), Ordering::SeqCst);
            begun.send(()).ok();
            released.recv().ok();
            Ok(())
        };
        let slow = writing.store.write(0, slow);
        let appended = append(&writing, Stream::Input, b"line\n".to_vec());
        let (slow, appended) = tokio::join!(slow, appended);
        slow.and(appended)
    });
    begins.await.unwrap();
    now.store(5_000, Ordering::SeqCst);
    // Long enough for a reader that did not wait to be wrong; one that waits passes whatever the time.
    let early = tokio::time::timeout(Duration::from_millis(100), reader.next_batch()).await;
    let complete_to = early.map_or(Timestamp::MIN, |batch| batch.unwrap().complete_to);
    assert!(complete_to <= Timestamp::from_millis(time.load(Ordering::SeqCst)), "{complete_to}");
    release.send(()).unwrap();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(reader.next_batch().await.unwrap().records.len(), 1);
}

#[tokio::test]
async fn a_record_that_was_damaged_is_named() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    append(&backend, Stream::Input, b"line\n".repeat(1_000)).await.unwrap();
    let spoil = |tx: &mut Tx<'_>| Ok(tx.conn.execute("UPDATE record SET data = x'00', codec = 1", [])?);
    backend.store.write(0, spoil).await.unwrap();
    let shard = backend.shards(Stream::Input).await.unwrap()[0].id.clone();
    let mut reader = backend.reader(Stream::Input, &shard, StartAt::TrimHorizon).await.unwrap();
    insta::assert_snapshot!(
        sandbox.message(reader.next_batch().await),
        @"failed: record 1 of shardId-000000000000 in the input stream is damaged: restore a copy of the file with its -wal, or move both away to begin anew"
    );
}

#[tokio::test]
async fn each_error_of_sqlite_says_what_to_do() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path(), "").unwrap();
    let path = sandbox.path().canonicalize().unwrap();
    let message = |code| {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        sandbox.message::<()>(Err(Fault::Sql(error).at(&path)))
    };
    insta::assert_snapshot!(message(ffi::SQLITE_BUSY), @"busy: DIR/state.db: another process keeps it locked; waiting for it");
    insta::assert_snapshot!(message(ffi::SQLITE_IOERR_SHMSIZE), @"busy: DIR/state.db: no space left; free some on its file system, nothing is lost meanwhile");
    insta::assert_snapshot!(message(ffi::SQLITE_READONLY), @"failed: DIR/state.db: no permission to write: run as the user who owns it, remount its file system if that is read-only, or use another state_dir");
    insta::assert_snapshot!(message(ffi::SQLITE_CANTOPEN), @"failed: DIR/state.db: cannot be opened: its directory must exist, belong to this user and not be read-only, and the process must not have too many files open (ulimit -n)");
    insta::assert_snapshot!(message(ffi::SQLITE_IOERR_READ), @"failed: DIR/state.db: the file system fails: Error code 266: disk I/O error");
}
