//! Opening: what is refused, in which words, and what is made anew.

use std::{fs, os::unix::fs::FileExt, time::Duration};

use rusqlite::Connection;

use super::{Sandbox, append, at};
use crate::backend::{
    Backend, Checkpoint, CheckpointStore, SequenceNumber, ShardId, Stage, Stream,
    embedded::{Embedded, Settings, schema},
};

#[tokio::test]
async fn a_directory_is_no_file() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path()).unwrap();
    insta::assert_snapshot!(
        sandbox.message(Embedded::open(sandbox.settings()).await),
        @"failed: DIR/state.db is a directory: the state is kept in a file"
    );
}

#[tokio::test]
async fn a_file_that_must_exist_is_not_created() {
    let sandbox = Sandbox::new();
    let settings = Settings { create: false, ..sandbox.settings() };
    insta::assert_snapshot!(
        sandbox.message(Embedded::open(settings).await),
        @"failed: DIR/state.db does not exist: no stage has run with this state_dir yet"
    );
    assert!(!sandbox.path().exists());
}

#[tokio::test]
async fn a_directory_that_is_missing_is_created_unless_something_is_in_its_place() {
    let sandbox = Sandbox::new();
    let settings =
        |below: &str| Settings { path: sandbox.directory.path().join(below), ..sandbox.settings() };
    Embedded::open(settings("a/b/state.db")).await.unwrap();
    fs::write(sandbox.directory.path().join("file"), "text").unwrap();
    insta::assert_snapshot!(
        sandbox.message(Embedded::open(settings("file/state.db")).await),
        @"failed: DIR/file: cannot be created: File exists (os error 17)"
    );
}

#[tokio::test]
async fn an_absurd_number_of_shards_is_refused() {
    let sandbox = Sandbox::new();
    for (count, message) in [
        (0, "failed: a stream has 1 to 1000 shards, not 0"),
        (1_001, "failed: a stream has 1 to 1000 shards, not 1001"),
    ] {
        let settings = Settings { input_shards: count, ..sandbox.settings() };
        assert_eq!(sandbox.message(Embedded::open(settings).await), message);
    }
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_brought_up_to_date() {
    let sandbox = Sandbox::new();
    let (conn, _) = schema::open(&sandbox.settings()).unwrap();
    conn.execute_batch(
        "INSERT INTO checkpoint(stage, shard, position, saved, state) VALUES('analyze', 'shard', '7', 0, x'01'); \
         ALTER TABLE checkpoint DROP COLUMN ended; PRAGMA user_version = 1",
    )
    .unwrap();
    drop(conn);
    let store = sandbox.open().await.checkpoints(Stage::Analyze).await.unwrap();
    let shard = ShardId("shard".to_owned());
    let found = store.load(&shard).await.unwrap().unwrap().0;
    assert_eq!((found.position, found.ended), (Some(SequenceNumber("7".to_owned())), false));
    let ended = Checkpoint { position: None, state: Vec::new(), ended: true };
    store.save(&shard, ended.clone(), Vec::new()).await.unwrap();
    assert_eq!(store.load(&shard).await.unwrap().unwrap().0, ended);
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let sandbox = Sandbox::new();
    let (conn, _) = schema::open(&sandbox.settings()).unwrap();
    conn.pragma_update(None, "user_version", 9).unwrap();
    drop(conn);
    insta::assert_snapshot!(
        sandbox.message(Embedded::open(sandbox.settings()).await),
        @"failed: DIR/state.db was written by a newer logtally (schema 9, this one knows 2): upgrade, or use another state_dir"
    );
}

#[tokio::test]
async fn the_file_of_another_application_is_left_alone() {
    let sandbox = Sandbox::new();
    let other = Connection::open(sandbox.path()).unwrap();
    other.execute_batch("CREATE TABLE t(x)").unwrap();
    drop(other);
    let before = fs::read(sandbox.path()).unwrap();
    insta::assert_snapshot!(
        sandbox.message(Embedded::open(sandbox.settings()).await),
        @"failed: DIR/state.db is the database of another application: use another state_dir"
    );
    assert!(before == fs::read(sandbox.path()).unwrap(), "it was changed");

    fs::write(
        sandbox.path(),
        b"10.0.0.1 - - [21/Nov/2026:04:35:00 +0000] \"GET / HTTP/1.1\" 200 1\n".repeat(20),
    )
    .unwrap();
    insta::assert_snapshot!(
        sandbox.message(Embedded::open(sandbox.settings()).await),
        @"failed: DIR/state.db is no database of logtally: use another state_dir, or move the file away"
    );
}

#[tokio::test]
async fn a_damaged_file_is_named_with_the_remedy() {
    let sandbox = Sandbox::new();
    drop(schema::open(&sandbox.settings()).unwrap());
    let file = fs::File::options().write(true).open(sandbox.path()).unwrap();
    let pages = file.metadata().unwrap().len() / schema::PAGE.cast_unsigned();
    for page in 1..pages {
        file.write_all_at(&[0xa5; 64], page * schema::PAGE.cast_unsigned()).unwrap();
    }
    insta::assert_snapshot!(
        sandbox.message(Embedded::open(sandbox.settings()).await),
        @"failed: DIR/state.db is damaged: stop logtally and restore a copy of the file with its -wal, or move both and the -shm away to begin anew"
    );
}

#[tokio::test]
async fn an_empty_file_is_a_new_one() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path(), "").unwrap();
    append(&sandbox.open().await, Stream::Input, b"line\n".to_vec()).await.unwrap();
}

#[test]
fn many_may_create_the_file_at_once() {
    let sandbox = Sandbox::new();
    let nodes: Vec<_> = std::thread::scope(|scope| {
        let opening: Vec<_> =
            (0..8).map(|_| scope.spawn(|| schema::open(&sandbox.settings()).unwrap().1)).collect();
        opening.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(nodes.windows(2).all(|pair| pair[0] == pair[1]), "one file, one node: {nodes:?}");
}

#[tokio::test]
async fn shards_stay_as_they_were_created() {
    let sandbox = Sandbox::new();
    drop(sandbox.open().await);
    let settings = Settings { input_shards: 7, ..sandbox.settings() };
    let backend = Embedded::open(settings).await.unwrap();
    assert_eq!(backend.shards(Stream::Input).await.unwrap().len(), 1);
}

#[test]
fn a_clone_of_the_machine_is_another_node() {
    let sandbox = Sandbox::new();
    let node = |machine: &str| {
        let settings = Settings { machine: machine.to_owned(), ..sandbox.settings() };
        schema::open(&settings).unwrap().1
    };
    let first = node("");
    assert_eq!(first, node("a"), "learning the machine's name is no move");
    assert_eq!(first, node("a"));
    assert_eq!(first, node(""));
    let second = node("b");
    assert_ne!(first, second);
    assert_eq!(second, node("b"));
    assert_ne!(first, node("a"));
}

#[tokio::test]
async fn a_second_stage_is_told_who_holds_the_lock() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    let held = backend.checkpoints(Stage::Analyze).await.unwrap();
    let message = sandbox.message(sandbox.open().await.checkpoints(Stage::Analyze).await);
    let process = std::process::id().to_string();
    insta::assert_snapshot!(
        message.replace(&process, "1234"),
        @"closed: analyze is already running on DIR/state.db (process 1234): stop it, or use another state_dir"
    );
    drop(held);
    backend.checkpoints(Stage::Analyze).await.unwrap();
}

#[tokio::test]
async fn a_file_that_somebody_has_to_himself_for_a_while_is_waited_for() {
    let sandbox = Sandbox::new();
    // As whoever creates the file, or puts its log in order behind a process that was killed: nobody may even read it.
    let stranger = Connection::open(sandbox.path()).unwrap();
    stranger.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let (opened, ()) = tokio::join!(Embedded::open(sandbox.settings()), async {
        // More than it takes until it is said what is waited for.
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(stranger);
    });
    append(&opened.unwrap(), Stream::Input, b"line\n".to_vec()).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_file_and_not_only_in_memory() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    append(&backend, Stream::Input, noise_line()).await.unwrap();
    let copy = Sandbox::new();
    for suffix in ["", "-wal"] {
        let name = format!("state.db{suffix}");
        fs::copy(sandbox.directory.path().join(&name), copy.directory.path().join(&name)).unwrap();
    }
    let copied = Embedded::open(Settings { clock: at(0), ..copy.settings() });
    let stats = copied.await.unwrap().stream_stats(Stream::Input).await.unwrap();
    assert_eq!(stats[0].records, 1);
}

fn noise_line() -> Vec<u8> {
    super::noise(50_000)
}
