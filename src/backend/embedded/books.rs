//! What `status` and `audit` compare, in one snapshot of the file. Judges nothing.

use std::collections::BTreeMap;

use rusqlite::Connection;
use zstd::bulk::Decompressor;

use crate::{
    backend::{
        SequenceNumber, SourceState, Stage, StoredCheckpoint, Stream,
        embedded::{
            error::{Fault, failed},
            metrics, payload, shard,
            stats::{self, ShardStats},
        },
    },
    engine::{metric::REQUEST_COUNT, parcel::unpack, row::Output, time::Timestamp},
};

/// Requests by window and application.
pub type Requests = BTreeMap<(Timestamp, String), u64>;

/// One consistent look at everything that must add up.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// What `tail` stored of each file.
    pub sources: Vec<SourceState>,
    /// The input shards, each with what it ever took up to the position of `analyze`, in bytes.
    pub input: Vec<(ShardStats, u64)>,
    /// The output shards.
    pub output: Vec<ShardStats>,
    /// Every stage's checkpoints.
    pub checkpoints: Vec<StoredCheckpoint>,
    /// Requests in rows of the output stream that are still kept and were published.
    pub delivered: Requests,
    /// Requests in rows that were not published yet.
    pub undelivered: Requests,
    /// Requests in the metrics.
    pub metrics: Requests,
    /// Requests in metrics that are past their retention.
    pub aged: u64,
}

/// Reads the books in one transaction.
pub(super) fn read(conn: &Connection) -> Result<Books, Fault> {
    let tx = conn.unchecked_transaction()?;
    let checkpoints = stats::checkpoints(&tx)?;
    let mut books = Books { aged: metrics::aged_requests(&tx)?, ..Books::default() };
    for stats in stats::of_stream(&tx, Stream::Input)? {
        let of_shard =
            |found: &&StoredCheckpoint| found.stage == Stage::Analyze && found.shard == stats.shard.id;
        let position = checkpoints.iter().find(of_shard).and_then(|found| found.checkpoint.position.clone());
        let start = SequenceNumber("0".to_owned());
        let backlog =
            stats::backlog(&tx, Stream::Input, &stats.shard.id, Some(position.as_ref().unwrap_or(&start)))?;
        books.input.push((stats, backlog.before.bytes));
    }
    books.output = stats::of_stream(&tx, Stream::Output)?;
    books.checkpoints = checkpoints;
    books.sources = sources(&tx)?;
    for datum in metrics::read(&tx, REQUEST_COUNT, Timestamp::MIN, Timestamp::MAX)? {
        if let Some((_, application)) = datum.series.dimensions.into_iter().next() {
            *books.metrics.entry((datum.timestamp, application)).or_default() += metrics::count(datum.value);
        }
    }
    rows(&tx, &mut books)?;
    Ok(books)
}

fn sources(conn: &Connection) -> rusqlite::Result<Vec<SourceState>> {
    let mut statement = conn.prepare_cached("SELECT generation, state FROM source ORDER BY generation")?;
    let source = |row: &rusqlite::Row<'_>| {
        Ok(SourceState { generation: row.get::<_, i64>(0)?.cast_unsigned(), state: row.get(1)? })
    };
    statement.query_map([], source)?.collect()
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
        let sums = if row.get(3)? { &mut books.delivered } else { &mut books.undelivered };
        for output in unpack(&data).rows {
            if let Output::Row(row) = output {
                // Anybody may have written the row.
                let sum: &mut u64 = sums.entry((row.window_start, row.application_name)).or_default();
                *sum = sum.saturating_add(row.response_count);
            }
        }
    }
    Ok(())
}
