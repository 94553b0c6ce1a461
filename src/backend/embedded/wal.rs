//! Copies the write-ahead log back into the database beside the commits, so that no commit waits for it. Decides
//! nothing about what is durable: the log already is.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use rusqlite::Connection;

use crate::backend::{
    Result,
    embedded::{error::Fault, schema, store::spawn},
};

/// Bytes of payload after which the log is copied back.
const EVERY: usize = 8 * 1024 * 1024;
/// Pages in the log past which it must start over, even if a commit waits for that: 64 MiB.
const MOST_PAGES: i64 = 64 * 1024 * 1024 / schema::PAGE;
/// How long starting over may wait for readers, in polls: 1 s. Past it the log grows until the next attempt.
const POLLS: i32 = 280;
/// Counted for each group of jobs beside its payload: the inner pages it rewrites.
const OVERHEAD: usize = 4 * 16 * 1024;

/// The handle on the copying thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Checkpointer {
    wake: SyncSender<()>,
    pending: usize,
}

impl Checkpointer {
    /// Starts the thread with a connection of its own.
    pub(super) fn start(path: &Path) -> Result<Self> {
        let conn = schema::open_again(path, POLLS).map_err(|error| Fault::Sql(error).at(path))?;
        let (wake, woken) = sync_channel(1);
        spawn("logtally-wal", move || run(&conn, &woken))?;
        Ok(Self { wake, pending: 0 })
    }

    /// A transaction with `bytes` of payload is in the log.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.pending += bytes + OVERHEAD;
        if self.pending >= EVERY && self.wake.try_send(()).is_ok() {
            self.pending = 0;
        }
    }
}

fn run(conn: &Connection, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        if let Err(error) = copy_back(conn) {
            tracing::warn!(%error, "the write-ahead log could not be copied back; trying again");
        }
    }
}

/// Copies what no reader still needs in the log; when that has not kept it short, makes it start over.
fn copy_back(conn: &Connection) -> rusqlite::Result<()> {
    let pages: i64 = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))?;
    if pages >= MOST_PAGES {
        conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))?;
    }
    Ok(())
}
