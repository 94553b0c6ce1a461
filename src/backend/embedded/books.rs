//! What `status` and `audit` compare, in one snapshot of the file. Judges nothing.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use zstd::bulk::Decompressor;

use crate::{
    backend::{
        Amount, Datum, SequenceNumber, Series, SourceState, Stage, StoredCheckpoint, Stream,
        embedded::{
            error::{Fault, failed},
            metrics, payload, shard,
            stats::{self, ShardStats},
        },
    },
    engine::{
        metric::OF_ROWS,
        parcel::unpack,
        producers::PARTITION_KEY_PREFIX,
        provenance::{Node, Provenance},
        row::Output,
        time::Timestamp,
    },
};

/// Requests by window and application.
pub type Requests = BTreeMap<(Timestamp, String), u64>;
/// Sums by series and window.
pub type Sums = BTreeMap<Series, BTreeMap<Timestamp, f64>>;

/// One consistent look at everything that must add up.
#[derive(Clone, Debug)]
pub struct Books {
    /// This node.
    pub node: Node,
    /// What `tail` stored of each file.
    pub sources: Vec<SourceState>,
    /// The input shards.
    pub input: Vec<InputShard>,
    /// The output shards.
    pub output: Vec<OutputShard>,
    /// Every stage's checkpoints.
    pub checkpoints: Vec<StoredCheckpoint>,
    /// What rows of the output stream that are still kept and were published add to the metrics.
    pub delivered: Sums,
    /// Requests in rows that were not published yet.
    pub undelivered: Requests,
    /// The metrics that rows add to.
    pub metrics: Sums,
    /// Requests in metrics that are past their retention.
    pub aged: u64,
    /// What was added to the metrics since then is not past their retention.
    pub metrics_since: Timestamp,
}

/// An input shard, as `analyze` stands to it.
#[derive(Clone, Debug)]
pub struct InputShard {
    /// Its own books.
    pub stats: ShardStats,
    /// The records that are there, counted.
    pub found: Amount,
    /// Bytes ever appended up to the position.
    pub before: u64,
    /// Which bytes of which files the records behind the position hold, in order.
    pub unread: Vec<Provenance>,
    /// Records of lines behind the position that do not say so.
    pub unread_without_provenance: u64,
}

/// An output shard, as `deliver` stands to it.
#[derive(Clone, Debug)]
pub struct OutputShard {
    /// Its own books.
    pub stats: ShardStats,
    /// The records that are there, counted.
    pub found: Amount,
    /// Parcels before the position that are still kept.
    pub passed: u64,
    /// Those of them that were published.
    pub published: u64,
    /// Parcels behind the position.
    pub waiting: u64,
}

/// Reads the books in one transaction.
pub(super) fn read(conn: &Connection, node: Node, now: Timestamp) -> Result<Books, Fault> {
    let tx = conn.unchecked_transaction()?;
    let checkpoints = stats::checkpoints(&tx)?;
    let position = |stage: Stage, stats: &ShardStats| {
        let of_shard = |found: &&StoredCheckpoint| found.stage == stage && found.shard == stats.shard.id;
        let found = checkpoints.iter().find(of_shard).and_then(|found| found.checkpoint.position.clone());
        found.unwrap_or_else(|| SequenceNumber("0".to_owned()))
    };
    let (mut input, mut output) = (Vec::new(), Vec::new());
    for stats in stats::of_stream(&tx, Stream::Input)? {
        let position = position(Stage::Analyze, &stats);
        input.push(input_shard(&tx, stats, &position)?);
    }
    for stats in stats::of_stream(&tx, Stream::Output)? {
        let position = position(Stage::Deliver, &stats);
        output.push(output_shard(&tx, stats, &position)?);
    }
    let mut books = Books {
        node,
        sources: sources(&tx)?,
        input,
        output,
        checkpoints,
        delivered: Sums::new(),
        undelivered: Requests::new(),
        metrics: Sums::new(),
        aged: metrics::aged_requests(&tx)?,
        metrics_since: now.plus_millis(-metrics::METRIC_RETENTION_MS),
    };
    for name in OF_ROWS {
        for datum in metrics::read(&tx, name, Timestamp::MIN, Timestamp::MAX)? {
            add(&mut books.metrics, datum);
        }
    }
    rows(&tx, &mut books)?;
    Ok(books)
}

fn input_shard(conn: &Connection, stats: ShardStats, position: &SequenceNumber) -> Result<InputShard, Fault> {
    let found = stats::backlog(conn, Stream::Input, &stats.shard.id, None)?.behind;
    let before = stats::backlog(conn, Stream::Input, &stats.shard.id, Some(position))?.before.bytes;
    let id = shard::find(conn, Stream::Input, &stats.shard.id)?.id;
    let mut statement = conn.prepare_cached(
        "SELECT partition_key FROM record WHERE shard = ?1 AND seq > CAST(?2 AS INTEGER) ORDER BY seq",
    )?;
    let mut rows = statement.query(params![id, position.0])?;
    let (mut unread, mut unread_without_provenance) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        match key.parse() {
            Ok(provenance) => unread.push(provenance),
            Err(_) if key.starts_with(PARTITION_KEY_PREFIX) => {}
            Err(_) => unread_without_provenance += 1,
        }
    }
    Ok(InputShard { stats, found, before, unread, unread_without_provenance })
}

fn output_shard(
    conn: &Connection,
    stats: ShardStats,
    position: &SequenceNumber,
) -> Result<OutputShard, Fault> {
    let found = stats::backlog(conn, Stream::Output, &stats.shard.id, None)?.behind;
    let waiting = stats::backlog(conn, Stream::Output, &stats.shard.id, Some(position))?.behind.records;
    let id = shard::find(conn, Stream::Output, &stats.shard.id)?.id;
    let (passed, published): (i64, i64) = conn
        .prepare_cached(
            "SELECT count(*), count(parcel.id) FROM record LEFT JOIN parcel ON parcel.id = partition_key \
             WHERE shard = ?1 AND seq <= CAST(?2 AS INTEGER)",
        )?
        .query_row(params![id, position.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (passed, published) = (passed.unsigned_abs(), published.unsigned_abs());
    Ok(OutputShard { stats, found, passed, published, waiting })
}

fn sources(conn: &Connection) -> rusqlite::Result<Vec<SourceState>> {
    let mut statement = conn.prepare_cached("SELECT generation, state FROM source ORDER BY generation")?;
    let source = |row: &rusqlite::Row<'_>| {
        Ok(SourceState { generation: row.get::<_, i64>(0)?.cast_unsigned(), state: row.get(1)? })
    };
    statement.query_map([], source)?.collect()
}

fn add(sums: &mut Sums, Datum { series, timestamp, value }: Datum) {
    *sums.entry(series).or_default().entry(timestamp).or_default() += value;
}

/// Adds up the rows of the output stream. A parcel that is there twice counts once.
fn rows(conn: &Connection, books: &mut Books) -> Result<(), Fault> {
    let mut context = Decompressor::new().map_err(|error| failed("no memory to decompress", error))?;
    let mut statement = conn.prepare_cached(
        "SELECT raw, codec, data, EXISTS(SELECT 1 FROM parcel WHERE parcel.id = partition_key) FROM record \
         WHERE id IN (SELECT min(record.id) FROM record JOIN shard ON shard.id = record.shard WHERE stream = ?1 \
         GROUP BY partition_key)",
    )?;
    let mut rows = statement.query([shard::number(Stream::Output)])?;
    while let Some(row) = rows.next()? {
        let data = payload::restore(&mut context, row.get(1)?, row.get(0)?, row.get(2)?).unwrap_or_default();
        let unpacked = unpack(&data);
        if row.get(3)? {
            unpacked.datums().into_iter().for_each(|datum| add(&mut books.delivered, datum));
            continue;
        }
        for output in unpacked.rows {
            if let Output::Row(row) = output {
                // Anybody may have written the row.
                let sum = books.undelivered.entry((row.window_start, row.application_name)).or_default();
                *sum = sum.saturating_add(row.response_count);
            }
        }
    }
    Ok(())
}
