//! Reads one shard, in order, and says how far it is complete. Deletes and writes nothing.
//!
//! **Completeness.** A transaction stamps its records when it begins and shows them when it commits, so a reader at
//! the tip cannot conclude from its clock alone that nothing older is still to come. Two things make it certain: a
//! snapshot's latest stamp over all shards (whatever is not in the snapshot is stamped at or behind it), and, where
//! the file is quiet, a *fence*: an empty job in the writing thread's queue, after which every transaction begun
//! before the asking is over.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, params};
use tokio::sync::watch;
use zstd::bulk::Decompressor;

use crate::{
    backend::{
        BackendError, Batch, Incoming, Loss, Result, SequenceNumber, ShardId, StartAt, Stream, StreamReader,
        embedded::{
            error::{Fault, failed, refused},
            payload, schema,
            shard::{self, Books, ShardRow},
            store::{Store, blocking},
        },
    },
    engine::time::Timestamp,
};

/// Payload of one batch, in bytes as appended, after which no further record joins it.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// Records in one batch.
const BATCH_RECORDS: usize = 10_000;
/// How often the tip is looked at for what other processes appended.
const POLL: Duration = Duration::from_millis(200);

/// Reads one shard of the file.
#[derive(Debug)]
pub struct Reader {
    store: Arc<Store>,
    scan: Arc<Scan>,
    /// The shard's number in the tables.
    id: i64,
    tip: watch::Receiver<i64>,
    /// The last record handed out, or the one in front of the first.
    position: i64,
    complete_to: Timestamp,
    /// How long to wait at the tip.
    tip_wait: Duration,
}

/// What a read needs and a task that may block can hold.
#[derive(Debug)]
struct Scan {
    stream: Stream,
    shard: ShardId,
    conn: Mutex<Connection>,
}

/// What one look at the shard found.
struct Found {
    records: Vec<Incoming>,
    last: Option<i64>,
    at_tip: bool,
    closed: bool,
    /// The latest stamp of the snapshot, over all shards.
    stamp: Option<i64>,
}

impl Reader {
    pub(super) async fn open(
        store: Arc<Store>,
        stream: Stream,
        shard: ShardId,
        start: StartAt,
    ) -> Result<Self> {
        let opening = Arc::clone(&store);
        let (scan, id, position) = blocking(move || {
            let open = || -> Result<_, Fault> {
                let conn = schema::open_reader(&opening.path)?;
                let row = shard::find(&conn, stream, &shard)?;
                let position = place(stream, &row, &start)?;
                let conn = Mutex::new(conn);
                Ok((Scan { stream, shard, conn }, row.id, position))
            };
            open().map_err(|fault| opening.explain(fault))
        })
        .await?;
        Ok(Self {
            tip: store.signals.tips.watch(id),
            id,
            tip_wait: store.tip_wait,
            store,
            scan: Arc::new(scan),
            position,
            complete_to: Timestamp::MIN,
        })
    }

    /// What this process has just appended behind the position, without a way through the file.
    fn fresh(&self) -> Option<Found> {
        let tips = &self.store.signals.tips;
        let (fresh, at_tip) = tips.behind(self.id, self.position, BATCH_BYTES, BATCH_RECORDS)?;
        Some(Found {
            last: fresh.last().map(|record| record.seq),
            records: fresh
                .into_iter()
                .map(|record| Incoming {
                    sequence: sequence(record.seq),
                    partition_key: record.key,
                    arrival: record.arrival,
                    data: record.data,
                })
                .collect(),
            at_tip,
            closed: false,
            stamp: None,
        })
    }

    async fn look(&self) -> Result<Found> {
        let (scan, position, store) = (Arc::clone(&self.scan), self.position, Arc::clone(&self.store));
        blocking(move || scan.look(position).map_err(|fault| store.explain(fault))).await
    }

    /// Waits until this process appends to the shard, or it is time to look for what others did.
    async fn wait(&mut self, poll: Duration) {
        let position = self.position;
        // Either is reason to look again, and the sender lives as long as the store.
        let _ = tokio::time::timeout(poll, self.tip.wait_for(|&last| last > position)).await;
    }

    /// Looks behind a fence: if there is still nothing, the shard is complete up to the time of asking.
    async fn look_at_tip(&mut self) -> Result<Batch> {
        let asked = self.store.clock.now();
        match self.store.write(0, |_| Ok(())).await {
            Ok(()) => {
                let found = self.look().await?;
                let complete = found.records.is_empty().then_some(asked);
                Ok(self.batch(found, complete))
            }
            // The file is held up: nothing is known about the time of asking, and nothing is lost by waiting.
            Err(BackendError::Busy { .. }) => {
                let found = self.look().await?;
                Ok(self.batch(found, None))
            }
            Err(error) => Err(error),
        }
    }

    fn batch(&mut self, found: Found, complete: Option<Timestamp>) -> Batch {
        let now = self.store.clock.now();
        let newest = found.records.last().map(|record| record.arrival);
        let stamp = found.stamp.filter(|_| found.at_tip).map(Timestamp::from_millis);
        self.complete_to =
            [newest, stamp, complete].into_iter().flatten().fold(self.complete_to, Timestamp::max);
        self.position = found.last.unwrap_or(self.position);
        let behind = newest.filter(|_| !found.at_tip).map_or(0, |newest| now.millis_since(newest).max(1));
        Batch {
            records: found.records,
            through: (self.position > 0).then(|| sequence(self.position)),
            complete_to: self.complete_to,
            behind_ms: u64::try_from(behind).unwrap_or(0),
            end_of_shard: found.closed && found.at_tip,
        }
    }
}

impl StreamReader for Reader {
    fn drain(&mut self) {
        self.tip_wait = Duration::ZERO;
    }

    async fn next_batch(&mut self) -> Result<Batch> {
        let poll = self.tip_wait.min(POLL);
        let mut waits = self.tip_wait.as_millis().div_ceil(poll.as_millis().max(1));
        loop {
            // Else a reader that always finds something would keep its thread from everybody else.
            tokio::task::consume_budget().await;
            let found = match self.fresh() {
                Some(found) => found,
                None => self.look().await?,
            };
            if !found.records.is_empty() {
                return Ok(self.batch(found, None));
            }
            if found.closed || waits == 0 {
                break;
            }
            self.wait(poll).await;
            waits -= 1;
        }
        self.look_at_tip().await
    }
}

impl Scan {
    fn look(&self, position: i64) -> Result<Found, Fault> {
        let conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let tx = conn.unchecked_transaction()?;
        let row = shard::find(&tx, self.stream, &self.shard)?;
        check(self.stream, &row, position)?;
        let stamp =
            tx.prepare_cached("SELECT max(last_arrival) FROM shard")?.query_row([], |row| row.get(0))?;
        let stored = fetch(&tx, row.id, position)?;
        tx.commit()?;
        let last = stored.last().map(|record| record.seq);
        Ok(Found {
            records: self.restore(stored)?,
            last,
            at_tip: last.unwrap_or(position) >= row.books.last_seq,
            closed: row.shard.closed,
            stamp,
        })
    }

    fn restore(&self, stored: Vec<Stored>) -> Result<Vec<Incoming>, Fault> {
        let mut context = Decompressor::new().map_err(|error| failed("no memory to decompress", error))?;
        stored
            .into_iter()
            .map(|record| {
                let data = payload::restore(&mut context, record.codec, record.raw, record.data);
                let data = data.ok_or_else(|| {
                    refused(format!(
                        "record {} of {} in the {} stream is damaged: restore a copy of the file with its -wal, or \
                         move both away to begin anew",
                        record.seq,
                        self.shard,
                        shard::word(self.stream)
                    ))
                })?;
                Ok(Incoming {
                    sequence: sequence(record.seq),
                    partition_key: record.key,
                    arrival: Timestamp::from_millis(record.arrival),
                    data,
                })
            })
            .collect()
    }
}

struct Stored {
    seq: i64,
    arrival: i64,
    key: String,
    raw: i64,
    codec: i64,
    data: Vec<u8>,
}

fn fetch(conn: &Connection, shard: i64, after: i64) -> rusqlite::Result<Vec<Stored>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, arrival, partition_key, raw, codec, data FROM record WHERE shard = ?1 AND seq > ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![shard, after])?;
    let (mut stored, mut bytes) = (Vec::new(), 0);
    while stored.len() < BATCH_RECORDS
        && bytes < BATCH_BYTES
        && let Some(row) = rows.next()?
    {
        let record = Stored {
            seq: row.get(0)?,
            arrival: row.get(1)?,
            key: row.get(2)?,
            raw: row.get(3)?,
            codec: row.get(4)?,
            data: row.get(5)?,
        };
        bytes += usize::try_from(record.raw).unwrap_or(BATCH_BYTES);
        stored.push(record);
    }
    Ok(stored)
}

/// The position to start behind.
fn place(stream: Stream, row: &ShardRow, start: &StartAt) -> Result<i64, Fault> {
    let position = match start {
        StartAt::TrimHorizon => row.books.trimmed_seq,
        StartAt::Latest => row.books.last_seq,
        StartAt::After(SequenceNumber(text)) => text
            .parse()
            .map_err(|_| refused(format!("{text:?} is no position in the {} stream", shard::word(stream))))?,
    };
    check(stream, row, position)?;
    Ok(position)
}

/// Refuses a position whose successors are gone, or that this shard never reached.
fn check(stream: Stream, row: &ShardRow, position: i64) -> Result<(), Fault> {
    let (stream, shard, books) = (shard::word(stream), &row.shard.id, &row.books);
    if position < books.trimmed_seq {
        let loss = loss(row, position);
        return Err(Fault::Backend(BackendError::Gone {
            why: format!(
                "{shard} of the {stream} stream no longer holds what follows position {position}: {loss} passed \
                 retention unread; --accept-loss goes on with the oldest record kept"
            ),
            loss,
        }));
    }
    if !(0..=books.last_seq).contains(&position) {
        return Err(Fault::Backend(refused(format!(
            "{shard} of the {stream} stream ends at position {}, before {position}: it is another file than the one \
             the position is from",
            books.last_seq
        ))));
    }
    Ok(())
}

/// What lies between a position and the oldest record kept. Sequence numbers are dense, so the number of records
/// is certain; bytes and times are known for the consumer's own position.
fn loss(row: &ShardRow, position: i64) -> Loss {
    let Books { trimmed_seq, gap, gap_arrivals, .. } = row.books;
    let records = trimmed_seq - position;
    let known = gap.records == records;
    Loss {
        records: u64::try_from(records).ok(),
        bytes: known.then(|| u64::try_from(gap.bytes).unwrap_or(0)),
        arrivals: gap_arrivals
            .filter(|_| known)
            .map(|(first, last)| (Timestamp::from_millis(first), Timestamp::from_millis(last))),
    }
}

fn sequence(position: i64) -> SequenceNumber {
    SequenceNumber(position.to_string())
}
