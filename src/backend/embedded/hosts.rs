//! The heaviest unknown hosts of each window, merged from what the shards' cuts report. Counts no request itself.

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    backend::embedded::{error::Fault, group::Tx},
    engine::{
        row::{HostCount, Row},
        time::Timestamp,
    },
};

/// Hosts kept a window. A host that falls off may come back: its error then covers what was forgotten of it.
pub const TOP_HOSTS: u32 = 100;

/// The largest count, and the largest error: no sum of two of each overflows the column.
const MOST: i64 = i64::MAX / 4;

/// Adds the hosts that `rows` name to their windows.
pub(super) fn add(tx: &Tx<'_>, rows: &[Row]) -> rusqlite::Result<()> {
    for row in rows.iter().filter(|row| !row.top_hosts.is_empty()) {
        let start = row.window_start.as_millis();
        let floor = floor(tx, start)?;
        for host in &row.top_hosts {
            tx.conn
                .prepare_cached(
                    "INSERT INTO top_host(start, host, count, error) VALUES(?1, ?2, ?3, min(?4 + ?5, ?6)) \
                     ON CONFLICT DO UPDATE SET count = min(count + excluded.count, ?6), error = min(error + ?4, ?6)",
                )?
                .execute(params![start, host.host, signed(host.count), signed(host.error), floor, MOST])?;
        }
        forget_light(tx.conn, start)?;
    }
    Ok(())
}

/// The most that a host which the window does not list may have called; marks the window as changed.
fn floor(tx: &Tx<'_>, start: i64) -> rusqlite::Result<i64> {
    tx.conn
        .prepare_cached(
            "INSERT INTO top_window(start, updated) VALUES(?1, ?2) \
             ON CONFLICT DO UPDATE SET updated = excluded.updated RETURNING floor",
        )?
        .query_row(params![start, tx.now.as_millis()], |row| row.get(0))
}

/// Keeps the heaviest [`TOP_HOSTS`], and remembers what the others had at most.
fn forget_light(conn: &Connection, start: i64) -> rusqlite::Result<()> {
    let light = conn
        .prepare_cached(
            "SELECT count, host FROM top_host WHERE start = ?1 ORDER BY count DESC, host LIMIT 1 OFFSET ?2",
        )?
        .query_row(params![start, TOP_HOSTS], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    let Some((count, host)) = light else { return Ok(()) };
    conn.prepare_cached(
        "UPDATE top_window SET floor = max(floor, (SELECT max(count + error) FROM top_host \
         WHERE start = ?1 AND (count < ?2 OR (count = ?2 AND host >= ?3)))) WHERE start = ?1",
    )?
    .execute(params![start, count, host])?;
    conn.prepare_cached(
        "DELETE FROM top_host WHERE start = ?1 AND (count < ?2 OR (count = ?2 AND host >= ?3))",
    )?
    .execute(params![start, count, host])?;
    Ok(())
}

/// The hosts of the windows that start in `from..to`, by window, heaviest first.
pub(super) fn read(
    conn: &Connection,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<(Timestamp, HostCount)>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT start, host, count, error FROM top_host WHERE start >= ?1 AND start < ?2 \
         ORDER BY start, count DESC, host",
    )?;
    let rows = statement.query_map(params![from.as_millis(), to.as_millis()], |row| {
        let host = HostCount {
            host: row.get(1)?,
            count: row.get::<_, i64>(2)?.cast_unsigned(),
            error: row.get::<_, i64>(3)?.cast_unsigned(),
        };
        Ok((Timestamp::from_millis(row.get(0)?), host))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).map_or(MOST, |count| count.min(MOST))
}
