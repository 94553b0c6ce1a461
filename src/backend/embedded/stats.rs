//! What `status` and `audit` want to know of the file. Takes no lock and changes nothing.

use rusqlite::Connection;

use crate::{
    backend::{
        Amount, Backlog, Checkpoint, Loss, SequenceNumber, Shard, ShardId, Stage, StoredCheckpoint, Stream,
        embedded::{
            error::Fault,
            shard::{self, Books, ShardRow},
        },
    },
    engine::time::Timestamp,
};

/// The books of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStats {
    /// The shard.
    pub shard: Shard,
    /// Records kept.
    pub records: u64,
    /// Payload kept, in bytes as appended.
    pub bytes: u64,
    /// Payload kept, in bytes as stored.
    pub stored_bytes: u64,
    /// Oldest and newest record kept.
    pub positions: Option<(SequenceNumber, SequenceNumber)>,
    /// Arrival of the oldest record kept, and the latest arrival ever.
    pub arrivals: Option<(Timestamp, Timestamp)>,
    /// Records ever appended.
    pub appended_records: u64,
    /// Payload ever appended, in bytes.
    pub appended_bytes: u64,
    /// Of these: expired before the consumer passed them, ever.
    pub expired_records: u64,
    /// The same in bytes.
    pub expired_bytes: u64,
    /// What the consumer misses if it goes on from its checkpoint now.
    pub gap: Option<Loss>,
}

/// The books of every shard of a stream.
pub(super) fn of_stream(conn: &Connection, stream: Stream) -> Result<Vec<ShardStats>, Fault> {
    shard::all(conn, stream)?.into_iter().map(|row| stats(conn, row)).collect()
}

fn stats(conn: &Connection, row: ShardRow) -> Result<ShardStats, Fault> {
    let books = row.books;
    let kept = books.last_seq > books.trimmed_seq;
    let oldest: Option<i64> = conn
        .prepare_cached("SELECT min(arrival) FROM record WHERE shard = ?1 AND seq = ?2")?
        .query_row([row.id, books.trimmed_seq + 1], |found| found.get(0))?;
    Ok(ShardStats {
        shard: row.shard,
        records: unsigned(books.last_seq - books.trimmed_seq),
        bytes: unsigned(books.raw_bytes - books.trimmed_bytes),
        stored_bytes: unsigned(books.kept_bytes),
        positions: kept.then(|| (position(books.trimmed_seq + 1), position(books.last_seq))),
        arrivals: oldest
            .zip(books.last_arrival)
            .map(|(oldest, latest)| (Timestamp::from_millis(oldest), Timestamp::from_millis(latest))),
        appended_records: unsigned(books.last_seq),
        appended_bytes: unsigned(books.raw_bytes),
        expired_records: unsigned(books.expired.records),
        expired_bytes: unsigned(books.expired.bytes),
        gap: gap(&books),
    })
}

fn gap(books: &Books) -> Option<Loss> {
    (books.gap.records > 0).then(|| Loss {
        records: Some(unsigned(books.gap.records)),
        bytes: Some(unsigned(books.gap.bytes)),
        arrivals: books
            .gap_arrivals
            .map(|(first, last)| (Timestamp::from_millis(first), Timestamp::from_millis(last))),
    })
}

/// What a shard holds, seen from a position; `None` is in front of the oldest record kept.
pub(super) fn backlog(
    conn: &Connection,
    stream: Stream,
    shard: &ShardId,
    after: Option<&SequenceNumber>,
) -> Result<Backlog, Fault> {
    let row = shard::find(conn, stream, shard)?;
    let books = row.books;
    let after = after.and_then(|after| after.0.parse().ok()).unwrap_or(books.trimmed_seq);
    let (records, bytes, oldest): (i64, i64, Option<i64>) = conn
        .prepare_cached(
            "SELECT count(*), coalesce(sum(raw), 0), min(arrival) FROM record WHERE shard = ?1 AND seq > ?2",
        )?
        .query_row([row.id, after], |found| Ok((found.get(0)?, found.get(1)?, found.get(2)?)))?;
    let amount = |records, bytes| Amount { records: unsigned(records), bytes: unsigned(bytes) };
    Ok(Backlog {
        before: amount(books.last_seq - records, books.raw_bytes - bytes),
        behind: amount(records, bytes),
        oldest: oldest.map(Timestamp::from_millis),
        newest: (books.last_seq > 0).then(|| position(books.last_seq)),
    })
}

/// Every stored checkpoint.
pub(super) fn checkpoints(conn: &Connection) -> Result<Vec<StoredCheckpoint>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT stage, shard, saved, position, state, ended FROM checkpoint ORDER BY stage, shard",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let word: String = row.get(0)?;
        let stages = [Stage::Produce, Stage::Analyze, Stage::Deliver];
        let Some(stage) = stages.into_iter().find(|stage| stage.as_str() == word) else {
            continue;
        };
        found.push(StoredCheckpoint {
            stage,
            shard: ShardId(row.get(1)?),
            saved: Timestamp::from_millis(row.get(2)?),
            checkpoint: Checkpoint {
                position: row.get::<_, Option<String>>(3)?.map(SequenceNumber),
                state: row.get(4)?,
                ended: row.get(5)?,
            },
        });
    }
    Ok(found)
}

fn position(seq: i64) -> SequenceNumber {
    SequenceNumber(seq.to_string())
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
