//! The tables of the file, and its opening: identity, schema version, pragmas. Moves no data.
//!
//! Every table is `STRICT`; times are milliseconds since the epoch; a stream is 0 (input) or 1 (output), a stage its
//! command's name.

use std::{path::Path, thread, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, config::DbConfig};

use crate::{
    backend::{
        BackendError, Stream,
        embedded::{
            MAX_SHARDS, Settings,
            error::{Fault, LOCKED, failed, refused},
            shard,
        },
    },
    engine::provenance::Node,
};

/// "LTLY" in the file's header: what `file` and other programs recognise it by.
const APPLICATION_ID: i32 = 0x4c54_4c59;
/// Written to `user_version`; a greater one is refused.
const SCHEMA: i32 = 2;
/// Bytes a page: a compressed record of 512 KiB of lines takes five or six, a small one shares its page.
pub(super) const PAGE: i64 = 16 * 1024;
/// Pages the writing connection keeps, in KiB: more than one group commit dirties, so that none spills early.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// Pages a reading connection keeps, in KiB: records are read once, so inner pages are all that pays.
const READER_CACHE_KIB: i64 = 1024;
/// What is left of the write-ahead log when it starts over, in bytes: rewriting blocks that exist is the faster
/// way to a durable commit.
const WAL_KEEP: i64 = 64 * 1024 * 1024;
/// Prepared statements kept a connection; there are fewer.
const STATEMENTS: usize = 64;
/// How often a lock is asked for, 1 ms apart at first and then 5 ms: 30 s in all, then `Busy`.
const LOCK_POLLS: i32 = 6_000;
/// After so many of them it is said what is waited for: 2 s.
const LOCK_SAID_AT: i32 = 480;

/// The tables. What is in them:
///
/// * `meta`: `node` (the producer's random id) and `machine` (the identity it was drawn on).
/// * `shard`: one row a shard and the books of its records. `first_hash`, `last_hash`: big-endian, 16 bytes.
///   `parents`: JSON array of names. Sequence numbers are dense from 1: those up to `trimmed_seq` are deleted,
///   those up to `last_seq` kept, so that a gap tells its own length. `raw_bytes` and `trimmed_bytes` count payload
///   as appended, ever; `kept_bytes` payload as stored, now. `expired_*` count what was deleted before the
///   consumer's checkpoint passed it, ever; `gap_*` the same since the checkpoint last stood at or behind
///   `trimmed_seq`: what a consumer that goes on from it has missed.
/// * `record`: the streams. `id` ascends over all of them, so that an append goes to the end of the table; the index
///   finds a shard's. `raw`: length as appended. `codec`: see [`payload`](super::payload). `data` comes last, so that
///   nothing else of the row lies behind its overflow pages.
/// * `source`: `tail`'s state of one file's life; `generation` is a `u64` stored as the `i64` of the same bits.
/// * `checkpoint`: a stage's cut of one shard; `ended`: the shard was read to its end.
/// * `series`, `metric`: sums by series and timestamp; `dims` is a JSON array of pairs; `updated` says when a sum was
///   last added to, and decides how long it is kept.
/// * `parcel`: the ledger of published parcels.
/// * `contact`: whom to contact about an application, as of its latest window.
/// * `top_window`, `top_host`: the heaviest unknown hosts of a window; `floor` is the most that a host which is no
///   longer listed may have called.
/// * `alarm_state`, `alarm_history`: opaque states, and what became of them.
const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE shard(
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    name TEXT NOT NULL,
    first_hash BLOB NOT NULL,
    last_hash BLOB NOT NULL,
    parents TEXT NOT NULL DEFAULT '[]',
    closed INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0,
    last_arrival INTEGER,
    raw_bytes INTEGER NOT NULL DEFAULT 0,
    kept_bytes INTEGER NOT NULL DEFAULT 0,
    trimmed_seq INTEGER NOT NULL DEFAULT 0,
    trimmed_arrival INTEGER,
    trimmed_bytes INTEGER NOT NULL DEFAULT 0,
    expired_records INTEGER NOT NULL DEFAULT 0,
    expired_bytes INTEGER NOT NULL DEFAULT 0,
    gap_records INTEGER NOT NULL DEFAULT 0,
    gap_bytes INTEGER NOT NULL DEFAULT 0,
    gap_first INTEGER,
    gap_last INTEGER,
    UNIQUE(stream, name)
) STRICT;
CREATE TABLE record(
    id INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    arrival INTEGER NOT NULL,
    raw INTEGER NOT NULL,
    codec INTEGER NOT NULL,
    hash_key BLOB,
    partition_key TEXT NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX record_by_shard ON record(shard, seq);
CREATE TABLE source(generation INTEGER PRIMARY KEY, state BLOB NOT NULL) STRICT;
CREATE TABLE checkpoint(
    stage TEXT NOT NULL,
    shard TEXT NOT NULL,
    position TEXT,
    saved INTEGER NOT NULL,
    state BLOB NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(stage, shard)
) STRICT;
CREATE TABLE series(id INTEGER PRIMARY KEY, name TEXT NOT NULL, dims TEXT NOT NULL, UNIQUE(name, dims)) STRICT;
CREATE TABLE metric(
    series INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    sum REAL NOT NULL,
    samples INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY(series, ts)
) STRICT, WITHOUT ROWID;
CREATE INDEX metric_by_age ON metric(updated);
CREATE TABLE parcel(id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX parcel_by_age ON parcel(at);
CREATE TABLE contact(application TEXT PRIMARY KEY, contact TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE top_window(
    start INTEGER PRIMARY KEY, floor INTEGER NOT NULL DEFAULT 0, updated INTEGER NOT NULL
) STRICT;
CREATE INDEX top_window_by_age ON top_window(updated);
CREATE TABLE top_host(
    start INTEGER NOT NULL,
    host TEXT NOT NULL,
    count INTEGER NOT NULL,
    error INTEGER NOT NULL,
    PRIMARY KEY(start, host)
) STRICT, WITHOUT ROWID;
CREATE TABLE alarm_state(name TEXT PRIMARY KEY, updated INTEGER NOT NULL, state BLOB NOT NULL) STRICT;
CREATE TABLE alarm_history(
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    previous TEXT NOT NULL,
    next TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX alarm_history_by_name ON alarm_history(name, id);
CREATE INDEX alarm_history_by_time ON alarm_history(at);
";

/// Opens the file for writing, creating it and its tables where they are missing, and gives this node's id.
pub(super) fn open(settings: &Settings) -> Result<(Connection, Node), BackendError> {
    let path = settings.path.as_path();
    check_shards(settings)?;
    check_place(path, settings.create)?;
    let mut asked = 0;
    let prepared = loop {
        match prepare(path) {
            // Another process creates the file just now, or puts its log in order after one that was killed.
            Err(Fault::Sql(error)) if is_lock(&error) && waits(asked, path, LOCK_POLLS) => asked += 1,
            prepared => break prepared,
        }
    };
    prepared.and_then(|()| take_up(settings)).map_err(|fault| fault.at(path))
}

/// Opens the file once more, only to read.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, LOCK_POLLS)?;
    conn.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    Ok(conn)
}

/// Opens the file once more, to write; gives up on locks after `polls`.
pub(super) fn open_again(path: &Path, polls: i32) -> rusqlite::Result<Connection> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, polls)?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", WAL_KEEP)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    Ok(conn)
}

fn check_shards(settings: &Settings) -> Result<(), BackendError> {
    for count in [settings.input_shards, settings.output_shards] {
        if !(1..=MAX_SHARDS).contains(&count) {
            return Err(refused(format!("a stream has 1 to {MAX_SHARDS} shards, not {count}")));
        }
    }
    Ok(())
}

fn check_place(path: &Path, create: bool) -> Result<(), BackendError> {
    let shown = path.display();
    if path.is_dir() {
        return Err(refused(format!("{shown} is a directory: the state is kept in a file")));
    }
    if path.exists() {
        return Ok(());
    }
    if !create {
        return Err(refused(format!("{shown} does not exist: no stage has run with this state_dir yet")));
    }
    match path.parent() {
        Some(parent) => std::fs::create_dir_all(parent)
            .map_err(|error| failed(format!("{}: cannot be created: {error}", parent.display()), error)),
        None => Ok(()),
    }
}

/// Opens the file; a lock is asked for `polls` times, from the first read on. Asks often instead of ever more seldom as
/// SQLite's own timeout does: else a process that seldom writes would hardly get a turn beside one that always does.
fn connect(path: &Path, access: OpenFlags, polls: i32) -> rusqlite::Result<Connection> {
    let mut conn = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let shown = path.to_owned();
    conn.busy_handler(Some(move |asked: i32| waits(asked, &shown, polls)))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Else whatever is bound to a statement could change its plan, and each use would prepare it anew.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(conn)
}

/// Waits for a lock that was asked for so often before, unless that was often enough.
fn waits(asked: i32, path: &Path, polls: i32) -> bool {
    if asked >= polls {
        return false;
    }
    if asked == LOCK_SAID_AT {
        tracing::warn!("{}: {LOCKED}", path.display());
    }
    thread::sleep(Duration::from_millis(if asked < 100 { 1 } else { 5 }));
    true
}

fn is_lock(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Makes the file one that processes can share. Waits for no lock: where two do this at once, SQLite would not let both
/// wait.
fn prepare(path: &Path) -> Result<(), Fault> {
    let create = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let conn = connect(path, create, 0)?;
    identify(&conn, path)?;
    conn.pragma_update(None, "page_size", PAGE)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Backend(refused(format!(
            "{}: its file system cannot share a database between processes: use a local state_dir",
            path.display()
        ))));
    }
    Ok(())
}

/// The tables and the node of a file that is ours.
fn take_up(settings: &Settings) -> Result<(Connection, Node), Fault> {
    let mut conn = open_again(&settings.path, LOCK_POLLS)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match version(&tx)? {
        0 => create_tables(&tx, settings)?,
        found => {
            upgrade(&tx, found)?;
            compare_shards(&tx, settings)?;
        }
    }
    let node = node(&tx, &settings.machine)?;
    tx.commit()?;
    Ok((conn, node))
}

/// Refuses a file that is not ours or not yet ours, before anything is changed in it. Looks at one snapshot: another
/// process may just be creating the tables.
fn identify(conn: &Connection, path: &Path) -> Result<(), Fault> {
    let conn = conn.unchecked_transaction()?;
    let application: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (shown, found) = (path.display(), version(&conn)?);
    if tables > 0 && application != APPLICATION_ID {
        return Err(Fault::Backend(refused(format!(
            "{shown} is the database of another application: use another state_dir"
        ))));
    }
    if found > SCHEMA {
        return Err(Fault::Backend(refused(format!(
            "{shown} was written by a newer logtally (schema {found}, this one knows {SCHEMA}): upgrade, or use \
             another state_dir"
        ))));
    }
    Ok(())
}

fn version(conn: &Connection) -> rusqlite::Result<i32> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn create_tables(conn: &Connection, settings: &Settings) -> rusqlite::Result<()> {
    conn.execute_batch(TABLES)?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", SCHEMA)?;
    shard::create(conn, Stream::Input, settings.input_shards)?;
    shard::create(conn, Stream::Output, settings.output_shards)
}

/// Brings the tables of an older version up to date.
fn upgrade(conn: &Connection, found: i32) -> rusqlite::Result<()> {
    if found < 2 {
        conn.execute_batch("ALTER TABLE checkpoint ADD COLUMN ended INTEGER NOT NULL DEFAULT 0")?;
    }
    conn.pragma_update(None, "user_version", SCHEMA)
}

/// A stream keeps the shards it was created with: records and positions belong to them.
fn compare_shards(conn: &Connection, settings: &Settings) -> rusqlite::Result<()> {
    for (stream, wanted) in [(Stream::Input, settings.input_shards), (Stream::Output, settings.output_shards)]
    {
        let open = shard::all(conn, stream)?.iter().filter(|row| !row.shard.closed).count();
        if u32::try_from(open) != Ok(wanted) {
            tracing::warn!(
                "the {} stream keeps its {open} shards: {wanted} would count only for a new state_dir",
                shard::word(stream)
            );
        }
    }
    Ok(())
}

/// The node's id, drawn anew where the file was carried to another machine: two producers must not share one.
fn node(conn: &Connection, machine: &str) -> Result<Node, Fault> {
    let stored = |key: &str| {
        conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, String>(0))
            .optional()
    };
    let known = stored("node")?.and_then(|text| u64::from_str_radix(&text, 16).ok());
    let on = stored("machine")?.unwrap_or_default();
    if let Some(node) = known
        && (machine.is_empty() || machine == on)
    {
        return Ok(Node(node));
    }
    let node = match known {
        Some(node) if on.is_empty() => node,
        _ => getrandom::u64().map_err(|error| {
            failed("the system gives no random number for the node's id", error.to_string())
        })?,
    };
    if known.is_some_and(|known| known != node) {
        tracing::warn!("the state was made on another machine: this node takes a new id");
    }
    let store =
        "INSERT INTO meta(key, value) VALUES(?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
    conn.execute(store, ["node", &Node(node).to_string()])?;
    conn.execute(store, ["machine", machine])?;
    Ok(Node(node))
}
