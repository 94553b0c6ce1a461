//! The shards of a stream: their part of the hash space, their books, their rows. Holds no records.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::backend::{BackendError, Shard, ShardId, Stage, Stream, embedded::error::Fault};

/// What the tables call a stream.
pub(super) const fn number(stream: Stream) -> i64 {
    match stream {
        Stream::Input => 0,
        Stream::Output => 1,
    }
}

/// What messages call a stream.
pub(super) const fn word(stream: Stream) -> &'static str {
    match stream {
        Stream::Input => "input",
        Stream::Output => "output",
    }
}

/// The stage whose checkpoints say which records of a stream are done with.
pub(super) const fn consumer(stream: Stream) -> Stage {
    match stream {
        Stream::Input => Stage::Analyze,
        Stream::Output => Stage::Deliver,
    }
}

/// One row of the table `shard`, with the position of its consumer.
#[derive(Clone, Debug)]
pub(super) struct ShardRow {
    pub(super) id: i64,
    pub(super) shard: Shard,
    pub(super) books: Books,
    /// Position of the consumer's checkpoint; 0 if it has none.
    pub(super) consumed: i64,
}

/// The books of a shard; see the table's description in [`schema`](super::schema).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Books {
    pub(super) last_seq: i64,
    pub(super) last_arrival: Option<i64>,
    pub(super) raw_bytes: i64,
    pub(super) kept_bytes: i64,
    pub(super) trimmed_seq: i64,
    pub(super) trimmed_arrival: Option<i64>,
    pub(super) trimmed_bytes: i64,
    pub(super) expired: Counted,
    pub(super) gap: Counted,
    pub(super) gap_arrivals: Option<(i64, i64)>,
}

/// Records and their bytes as appended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) records: i64,
    pub(super) bytes: i64,
}

const COLUMNS: &str = "shard.id, name, first_hash, last_hash, parents, closed, last_seq, last_arrival, raw_bytes, \
     kept_bytes, trimmed_seq, trimmed_arrival, trimmed_bytes, expired_records, expired_bytes, gap_records, \
     gap_bytes, gap_first, gap_last, CAST(coalesce(position, '0') AS INTEGER)";

/// Divides the hash space evenly among `count` shards of a new stream, as Kinesis does: in parts of 2^128 / `count`.
pub(super) fn create(conn: &Connection, stream: Stream, count: u32) -> rusqlite::Result<()> {
    let count = u128::from(count.max(1));
    let size = (u128::MAX / count).saturating_add((u128::MAX % count + 1) / count);
    let mut insert =
        conn.prepare("INSERT INTO shard(stream, name, first_hash, last_hash) VALUES(?1, ?2, ?3, ?4)")?;
    for index in 0..count {
        let last = if index + 1 == count { u128::MAX } else { (index + 1) * size - 1 };
        insert.execute(params![
            number(stream),
            format!("shardId-{index:012}"),
            (index * size).to_be_bytes(),
            last.to_be_bytes()
        ])?;
    }
    Ok(())
}

/// Every shard of a stream, parents before their children.
pub(super) fn all(conn: &Connection, stream: Stream) -> rusqlite::Result<Vec<ShardRow>> {
    conn.prepare_cached(&select("stream = ?1 ORDER BY shard.id"))?
        .query_map(params![number(stream), consumer(stream).as_str()], read)?
        .collect()
}

/// One shard by name.
pub(super) fn find(conn: &Connection, stream: Stream, shard: &ShardId) -> Result<ShardRow, Fault> {
    let sql = select("stream = ?1 AND name = ?3");
    let found = conn
        .prepare_cached(&sql)?
        .query_row(params![number(stream), consumer(stream).as_str(), shard.0], read)
        .optional()?;
    found.ok_or_else(|| {
        let why = format!(
            "the {} stream has no shard {shard}: see `logtally status` for those it has",
            word(stream)
        );
        Fault::Backend(BackendError::Unlisted { why })
    })
}

/// Writes the books of a shard back.
pub(super) fn store(conn: &Connection, row: &ShardRow) -> rusqlite::Result<()> {
    let books = &row.books;
    conn.prepare_cached(
        "UPDATE shard SET last_seq = ?2, last_arrival = ?3, raw_bytes = ?4, kept_bytes = ?5, trimmed_seq = ?6, \
         trimmed_arrival = ?7, trimmed_bytes = ?8, expired_records = ?9, expired_bytes = ?10, gap_records = ?11, \
         gap_bytes = ?12, gap_first = ?13, gap_last = ?14 WHERE id = ?1",
    )?
    .execute(params![
        row.id,
        books.last_seq,
        books.last_arrival,
        books.raw_bytes,
        books.kept_bytes,
        books.trimmed_seq,
        books.trimmed_arrival,
        books.trimmed_bytes,
        books.expired.records,
        books.expired.bytes,
        books.gap.records,
        books.gap.bytes,
        books.gap_arrivals.map(|(first, _)| first),
        books.gap_arrivals.map(|(_, last)| last),
    ])?;
    Ok(())
}

/// The gap in front of a consumer is behind it once its checkpoint stands at or past what was deleted.
pub(super) fn passed(
    conn: &Connection,
    stream: Stream,
    shard: &ShardId,
    position: &str,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE shard SET gap_records = 0, gap_bytes = 0, gap_first = NULL, gap_last = NULL \
         WHERE stream = ?1 AND name = ?2 AND gap_records > 0 AND trimmed_seq <= CAST(?3 AS INTEGER)",
    )?
    .execute(params![number(stream), shard.0, position])?;
    Ok(())
}

fn select(condition: &str) -> String {
    format!(
        "SELECT {COLUMNS} FROM shard LEFT JOIN checkpoint ON stage = ?2 AND checkpoint.shard = name WHERE {condition}"
    )
}

fn read(row: &Row<'_>) -> rusqlite::Result<ShardRow> {
    let parents: String = row.get(4)?;
    let parents: Vec<String> = serde_json::from_str(&parents).unwrap_or_default();
    let gap_first: Option<i64> = row.get(17)?;
    Ok(ShardRow {
        id: row.get(0)?,
        shard: Shard {
            id: ShardId(row.get(1)?),
            first_hash: u128::from_be_bytes(row.get(2)?),
            last_hash: u128::from_be_bytes(row.get(3)?),
            parents: parents.into_iter().map(ShardId).collect(),
            closed: row.get(5)?,
        },
        books: Books {
            last_seq: row.get(6)?,
            last_arrival: row.get(7)?,
            raw_bytes: row.get(8)?,
            kept_bytes: row.get(9)?,
            trimmed_seq: row.get(10)?,
            trimmed_arrival: row.get(11)?,
            trimmed_bytes: row.get(12)?,
            expired: Counted { records: row.get(13)?, bytes: row.get(14)? },
            gap: Counted { records: row.get(15)?, bytes: row.get(16)? },
            gap_arrivals: gap_first.zip(row.get(18)?),
        },
        consumed: row.get(19)?,
    })
}
