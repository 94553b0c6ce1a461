//! Metrics as CloudWatch keeps them: values of one series and timestamp add up, and a parcel counts once. Judges
//! nothing: `alarms` does.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    backend::{
        Datum, MetricSink, Parcel, Published, Result, Series,
        embedded::{
            error::{Fault, failed, refused},
            group::Tx,
            hosts,
            retention::{Bounds, past},
            store::Store,
        },
    },
    engine::{
        metric::{REQUEST_COUNT, count},
        row::{Row, UNKNOWN},
        time::Timestamp,
    },
};

/// How long a sum is kept after it was last added to: 63 days, as long as CloudWatch keeps five-minute periods.
pub(super) const METRIC_RETENTION_MS: i64 = 63 * 24 * 3_600_000;
/// How much longer than its record a parcel's id is remembered: a consumer may hold what it read for a while.
const LEDGER_MARGIN_MS: i64 = 24 * 3_600_000;
/// Rows of one table deleted in one step.
const STEP: usize = 500;

/// Publishes into the file.
#[derive(Debug)]
pub struct Metrics {
    store: Arc<Store>,
}

impl Metrics {
    pub(super) const fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

impl MetricSink for Metrics {
    async fn publish(&mut self, parcels: Arc<[Parcel]>) -> Result<Published> {
        let weight = parcels.iter().map(|parcel| parcel.datums.len() * DATUM_BYTES).sum();
        self.store
            .write(weight, move |tx| {
                let mut published = Published::default();
                for parcel in parcels.iter() {
                    add_parcel(tx, parcel, &mut published)?;
                }
                Ok(published)
            })
            .await
    }
}

/// About what one datum writes, to weigh a transaction.
const DATUM_BYTES: usize = 64;

fn add_parcel(tx: &Tx<'_>, parcel: &Parcel, published: &mut Published) -> Result<(), Fault> {
    let new = tx
        .conn
        .prepare_cached("INSERT INTO parcel(id, at) VALUES(?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![parcel.id, tx.now.as_millis()])?;
    if new == 0 {
        published.duplicates += 1;
        return Ok(());
    }
    let mut last: Option<(&Series, i64)> = None;
    for datum in &parcel.datums {
        // Those of a series follow each other.
        let series = match last {
            Some((series, id)) if *series == datum.series => id,
            _ => series_id(tx.conn, &datum.series)?,
        };
        last = Some((&datum.series, series));
        add_datum(tx, series, datum)?;
        published.datums += 1;
    }
    remember_contacts(tx.conn, &parcel.rows)?;
    hosts::add(tx, &parcel.rows)?;
    published.parcels += 1;
    Ok(())
}

fn add_datum(tx: &Tx<'_>, series: i64, datum: &Datum) -> Result<(), Fault> {
    if !datum.value.is_finite() {
        return Err(Fault::Backend(refused(format!(
            "a value of {} is {}: only finite numbers add up",
            datum.series.name, datum.value
        ))));
    }
    tx.conn
        .prepare_cached(
            "INSERT INTO metric(series, ts, sum, samples, updated) VALUES(?1, ?2, ?3, 1, ?4) ON CONFLICT DO UPDATE \
             SET sum = sum + excluded.sum, samples = samples + 1, updated = excluded.updated",
        )?
        .execute(params![series, datum.timestamp.as_millis(), datum.value, tx.now.as_millis()])?;
    Ok(())
}

fn series_id(conn: &Connection, series: &Series) -> Result<i64, Fault> {
    let dims = serde_json::to_string(&series.dimensions)
        .map_err(|error| failed(format!("the dimensions of {} cannot be stored", series.name), error))?;
    let known = conn
        .prepare_cached("SELECT id FROM series WHERE name = ?1 AND dims = ?2")?
        .query_row([&series.name, &dims], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let id = conn
        .prepare_cached("INSERT INTO series(name, dims) VALUES(?1, ?2)")?
        .insert([&series.name, &dims])?;
    Ok(id)
}

/// The contact of the latest window counts: a correction of an old one must not bring an old contact back.
fn remember_contacts(conn: &Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let mut latest: BTreeMap<&str, (Timestamp, &str)> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.application_name != UNKNOWN) {
        let contact = latest.entry(&row.application_name).or_insert((row.window_start, ""));
        if contact.0 <= row.window_start {
            *contact = (row.window_start, &row.contact);
        }
    }
    let mut remember = conn.prepare_cached(
        "INSERT INTO contact(application, contact, at) VALUES(?1, ?2, ?3) ON CONFLICT DO UPDATE \
         SET contact = excluded.contact, at = excluded.at WHERE excluded.at >= at",
    )?;
    for (application, (start, contact)) in latest {
        remember.execute(params![application, contact, start.as_millis()])?;
    }
    Ok(())
}

/// Sums of the metric `name` in `from..to`, ordered by series and timestamp.
pub(super) fn read(
    conn: &Connection,
    name: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Datum>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT dims, ts, sum FROM series JOIN metric ON series = id WHERE name = ?1 AND ts >= ?2 AND ts < ?3 \
         ORDER BY dims, ts",
    )?;
    let mut rows = statement.query(params![name, from.as_millis(), to.as_millis()])?;
    let mut datums = Vec::new();
    while let Some(row) = rows.next()? {
        let dims: String = row.get(0)?;
        let dimensions = serde_json::from_str(&dims)
            .map_err(|error| failed(format!("the dimensions of {name} are damaged: {dims}"), error))?;
        datums.push(Datum {
            series: Series { name: name.to_owned(), dimensions },
            timestamp: Timestamp::from_millis(row.get(1)?),
            value: row.get(2)?,
        });
    }
    Ok(datums)
}

/// Every application that was ever counted, with its contact.
pub(super) fn contacts(conn: &Connection) -> Result<BTreeMap<String, String>, Fault> {
    let mut statement = conn.prepare_cached("SELECT application, contact FROM contact")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A table whose rows have their time.
struct Aging {
    table: &'static str,
    key: &'static str,
    /// The column that says since when; indexed.
    since: &'static str,
    /// Milliseconds that a row is kept, beside the retention of the streams if `with_streams`.
    keep_ms: i64,
    with_streams: bool,
}

const AGING: [Aging; 3] = [
    Aging { table: "parcel", key: "id", since: "at", keep_ms: LEDGER_MARGIN_MS, with_streams: true },
    Aging {
        table: "metric",
        key: "series, ts",
        since: "updated",
        keep_ms: METRIC_RETENTION_MS,
        with_streams: false,
    },
    Aging {
        table: "top_window",
        key: "start",
        since: "updated",
        keep_ms: METRIC_RETENTION_MS,
        with_streams: false,
    },
];

impl Aging {
    fn keep_ms(&self, bounds: &Bounds) -> i64 {
        let streams = if self.with_streams { bounds.retention_ms } else { 0 };
        self.keep_ms.saturating_add(streams)
    }

    fn horizon(&self, bounds: &Bounds, now: Timestamp) -> i64 {
        now.as_millis().saturating_sub(self.keep_ms(bounds))
    }
}

/// Requests whose metrics are past their retention: they are gone from the sums, but not from the books.
pub(super) fn aged_requests(conn: &Connection) -> rusqlite::Result<u64> {
    let aged: Option<String> = conn
        .prepare_cached("SELECT value FROM meta WHERE key = 'aged_requests'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(aged.and_then(|aged| aged.parse().ok()).unwrap_or_default())
}

/// Enters the requests of the metrics that the next step deletes into the books.
fn remember_aged(conn: &Connection, horizon: i64) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT coalesce(sum(sum), 0) FROM metric JOIN series ON series = id WHERE name = '{REQUEST_COUNT}' \
         AND (series, ts) IN (SELECT series, ts FROM metric WHERE updated < ?1 LIMIT {STEP})"
    );
    let aging: f64 = conn.prepare_cached(&sql)?.query_row([horizon], |row| row.get(0))?;
    if aging > 0.0 {
        let aged = aged_requests(conn)? + count(aging);
        conn.prepare_cached("INSERT OR REPLACE INTO meta(key, value) VALUES('aged_requests', ?1)")?
            .execute([aged.to_string()])?;
    }
    Ok(())
}

/// When a sweep will find something to delete; never, if nothing is kept.
pub(super) fn next_due(conn: &Connection, bounds: &Bounds) -> rusqlite::Result<Option<Timestamp>> {
    let mut next = None;
    for aging in &AGING {
        let Aging { table, since, .. } = aging;
        let oldest: Option<i64> = conn
            .prepare_cached(&format!("SELECT min({since}) FROM {table}"))?
            .query_row([], |row| row.get(0))?;
        let due = oldest.map(|oldest| past(oldest, aging.keep_ms(bounds)));
        next = next.into_iter().chain(due).min();
    }
    Ok(next)
}

/// Deletes a step of what is past its time; the most deleted from one table.
pub(super) fn sweep(conn: &Connection, bounds: &Bounds, now: Timestamp) -> rusqlite::Result<usize> {
    let mut most = 0;
    for aging in &AGING {
        let Aging { table, key, since, .. } = aging;
        if *table == "metric" {
            remember_aged(conn, aging.horizon(bounds, now))?;
        }
        let sql = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {since} < ?1 LIMIT {STEP})"
        );
        most = most.max(conn.prepare_cached(&sql)?.execute([aging.horizon(bounds, now)])?);
    }
    if most > 0 {
        conn.execute("DELETE FROM top_host WHERE start NOT IN (SELECT start FROM top_window)", [])?;
        conn.execute("DELETE FROM series WHERE id NOT IN (SELECT series FROM metric)", [])?;
    }
    Ok(most)
}
