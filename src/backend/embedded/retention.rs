//! What may be deleted from the streams, and when: past retention always, to make room only what the consumer is
//! done with. Deletes in steps, so that no commit waits long.

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    backend::{
        Stream,
        embedded::{
            Settings, metrics,
            shard::{self, Counted, ShardRow},
        },
    },
    engine::time::Timestamp,
};

/// Records deleted from a shard in one step.
pub(super) const STEP: usize = 64;

/// How much is kept.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Age of records, in milliseconds.
    pub(super) retention_ms: i64,
    /// Payload of one stream as stored, in bytes.
    pub(super) max_bytes: i64,
}

/// Whether there is room for an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is, or was made.
    Enough,
    /// There is none until the consumer goes on or records expire; so many bytes are kept.
    None {
        /// Payload kept, in bytes.
        kept: i64,
    },
}

impl Bounds {
    /// As configured.
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            retention_ms: settings.retention_ms,
            max_bytes: i64::try_from(settings.max_bytes).unwrap_or(i64::MAX),
        }
    }

    fn horizon(&self, now: Timestamp) -> i64 {
        now.as_millis().saturating_sub(self.retention_ms)
    }
}

/// When a sweep will find something to delete; never, if nothing is kept.
pub(super) fn next_due(conn: &Connection, bounds: &Bounds) -> rusqlite::Result<Option<Timestamp>> {
    let oldest: Option<i64> = conn
        .prepare_cached("SELECT arrival FROM record ORDER BY id LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let record = oldest.map(|arrival| past(arrival, bounds.retention_ms));
    let other = metrics::next_due(conn, bounds)?;
    Ok(record.into_iter().chain(other).min())
}

/// The first moment at which what is from `since` has been kept for longer than `keep_ms`.
pub(super) fn past(since: i64, keep_ms: i64) -> Timestamp {
    Timestamp::from_millis(since).plus_millis(keep_ms.saturating_add(1))
}

/// Deletes up to `limit` records a shard that are past retention, perhaps but for those that their consumer has not
/// passed, and other things past their time. Gives the most deleted in one place, and whether that made room.
pub(super) fn sweep(
    conn: &Connection,
    bounds: &Bounds,
    (now, spares_unread): (Timestamp, bool),
    limit: usize,
) -> rusqlite::Result<(usize, bool)> {
    let horizon = bounds.horizon(now);
    let mut most = 0;
    for stream in [Stream::Input, Stream::Output] {
        for mut row in shard::all(conn, stream)? {
            let passed = if spares_unread { row.consumed } else { i64::MAX };
            let doomed = |record: &Oldest, _| record.arrival < horizon && record.seq <= passed;
            most = most.max(trim(conn, &mut row, limit, doomed)?);
        }
    }
    let room = most > 0;
    Ok((most.max(metrics::sweep(conn, bounds, now)?), room))
}

/// Sees to it that `needed` bytes more may be kept, deleting the oldest that the consumer is done with.
pub(super) fn make_room(
    conn: &Connection,
    bounds: &Bounds,
    rows: &mut [ShardRow],
    needed: i64,
) -> rusqlite::Result<Room> {
    let mut kept: i64 = rows.iter().map(|row| row.books.kept_bytes).sum();
    let limit = bounds.max_bytes.saturating_sub(needed).max(0);
    for row in rows.iter_mut() {
        if kept <= limit {
            break;
        }
        let (before, done, most) = (row.books.kept_bytes, row.consumed, kept - limit);
        trim(conn, row, usize::MAX, |record, freed| record.seq <= done && freed < most)?;
        kept -= before - row.books.kept_bytes;
    }
    // A single append larger than the bound passes when it has the stream for itself: else it would wait for ever.
    if kept <= limit || kept == 0 {
        return Ok(Room::Enough);
    }
    Ok(Room::None { kept })
}

struct Oldest {
    seq: i64,
    arrival: i64,
    raw: i64,
    stored: i64,
}

/// Deletes the shard's oldest records while `doomed` says so of them and the bytes freed so far, at most `limit`,
/// and keeps the books.
fn trim(
    conn: &Connection,
    row: &mut ShardRow,
    limit: usize,
    doomed: impl Fn(&Oldest, i64) -> bool,
) -> rusqlite::Result<usize> {
    let (mut count, mut freed) = (0, 0);
    {
        let mut oldest = conn.prepare_cached(
            "SELECT seq, arrival, raw, length(data) FROM record WHERE shard = ?1 AND seq > ?2 ORDER BY seq",
        )?;
        let mut found = oldest.query(params![row.id, row.books.trimmed_seq])?;
        while count < limit
            && let Some(found) = found.next()?
        {
            let record = Oldest {
                seq: found.get(0)?,
                arrival: found.get(1)?,
                raw: found.get(2)?,
                stored: found.get(3)?,
            };
            if !doomed(&record, freed) {
                break;
            }
            count += 1;
            freed += record.stored;
            strike(row, &record);
        }
    }
    if count > 0 {
        conn.prepare_cached("DELETE FROM record WHERE shard = ?1 AND seq <= ?2")?
            .execute(params![row.id, row.books.trimmed_seq])?;
        shard::store(conn, row)?;
    }
    Ok(count)
}

/// Takes one deleted record out of the books, into those of the lost if its consumer had not passed it.
fn strike(row: &mut ShardRow, record: &Oldest) {
    let books = &mut row.books;
    books.trimmed_seq = record.seq;
    books.trimmed_arrival = Some(record.arrival);
    books.trimmed_bytes += record.raw;
    books.kept_bytes -= record.stored;
    if record.seq > row.consumed {
        for lost in [&mut books.expired, &mut books.gap] {
            *lost = Counted { records: lost.records + 1, bytes: lost.bytes + record.raw };
        }
        let first = books.gap_arrivals.map_or(record.arrival, |(first, _)| first);
        books.gap_arrivals = Some((first, record.arrival));
    }
}
