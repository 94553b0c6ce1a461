//! Appends to a stream, with back-pressure. Reads nothing back: [`reader`](super::reader) does.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rusqlite::params;

use crate::backend::{
    Append, Result, SourceState, Stream, StreamWriter,
    embedded::{
        error::{Fault, refused},
        group::Tx,
        payload::{Codec, Prepared},
        retention::{self, Bounds, Room},
        shard::{self, ShardRow},
        store::Store,
        tips::Fresh,
    },
};
use crate::engine::provenance::Node;

/// How long an append waits for room before it looks again by itself: another process may have made some.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How often a stream that is full says so, in milliseconds.
const WARN_EVERY_MS: i64 = 60_000;

/// Appends to one stream of the file.
#[derive(Debug)]
pub struct Writer {
    store: Arc<Store>,
    codec: Arc<Codec>,
    stream: Stream,
}

impl Writer {
    pub(super) const fn new(store: Arc<Store>, codec: Arc<Codec>, stream: Stream) -> Self {
        Self { store, codec, stream }
    }
}

/// Records as they will lie in the file, and the positions to be stored with them.
#[derive(Clone, Debug)]
pub struct Packed {
    records: Arc<Vec<Prepared>>,
    sources: Arc<Vec<SourceState>>,
}

impl StreamWriter for Writer {
    type Packed = Packed;

    fn pack(&self, append: Append) -> impl Future<Output = Result<Packed>> + Send + use<> {
        let codec = Arc::clone(&self.codec);
        async move {
            let records = Arc::new(codec.prepare(append.records).await?);
            Ok(Packed { records, sources: Arc::new(append.sources) })
        }
    }

    async fn store(&mut self, packed: Packed) -> Result<()> {
        let (stream, bounds) = (self.stream, self.store.bounds.clone());
        let Packed { records, sources } = packed;
        let state = sources.iter().map(|source| source.state.len()).sum();
        Waiting::new(&self.store, stream, records, state)
            .settle(move |tx, records| {
                let room = put(tx, stream, &bounds, records)?;
                if room == Room::Enough {
                    put_sources(tx, &sources)?;
                }
                Ok(room)
            })
            .await
    }

    fn node(&self) -> Node {
        self.store.node
    }

    async fn sources(&mut self) -> Result<Vec<SourceState>> {
        self.store
            .read(|conn| {
                let mut statement =
                    conn.prepare_cached("SELECT generation, state FROM source ORDER BY generation")?;
                let rows = statement.query_map([], |row| {
                    Ok(SourceState { generation: row.get::<_, i64>(0)?.cast_unsigned(), state: row.get(1)? })
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }
}

/// Records on their way into a stream that may be full.
pub(super) struct Waiting<'a> {
    store: &'a Arc<Store>,
    stream: Stream,
    records: Arc<Vec<Prepared>>,
    weight: usize,
}

impl<'a> Waiting<'a> {
    /// `state` is the size of what is stored with them, in bytes.
    pub(super) fn new(
        store: &'a Arc<Store>,
        stream: Stream,
        records: Arc<Vec<Prepared>>,
        state: usize,
    ) -> Self {
        let weight = state + records.iter().map(|record| record.data.len()).sum::<usize>();
        Self { store, stream, records, weight }
    }

    /// Runs `work` in one transaction after the other until it finds room; each attempt changes all or nothing.
    pub(super) async fn settle<F>(&self, work: F) -> Result<()>
    where
        F: Fn(&mut Tx<'_>, &[Prepared]) -> Result<Room, Fault> + Clone + Send + 'static,
    {
        loop {
            let room = self.store.signals.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let (work, records) = (work.clone(), Arc::clone(&self.records));
            match self.store.write(self.weight, move |tx| work(tx, &records)).await? {
                Room::Enough => return Ok(()),
                Room::None { kept } => self.warn(kept),
            }
            // Either is reason to look again.
            let _ = tokio::time::timeout(LOOK_AGAIN, room).await;
        }
    }

    fn warn(&self, kept: i64) {
        let (now, warned) = (self.store.clock.now().as_millis(), &self.store.warned);
        let last = warned.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= WARN_EVERY_MS
            && warned.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(
                kept_bytes = kept,
                "the {} stream is full: waiting until {} goes on; raise max_bytes if it never catches up",
                shard::word(self.stream),
                shard::consumer(self.stream).as_str(),
            );
        }
    }
}

/// Appends `records` to the open shards that their hash keys belong to, if there is room.
pub(super) fn put(
    tx: &mut Tx<'_>,
    stream: Stream,
    bounds: &Bounds,
    records: &[Prepared],
) -> Result<Room, Fault> {
    if records.is_empty() {
        return Ok(Room::Enough);
    }
    let mut shards = shard::all(tx.conn, stream)?;
    let needed = records.iter().map(stored_len).sum();
    let freed: i64 = shards.iter().map(|row| row.books.trimmed_seq).sum();
    let room = retention::make_room(tx.conn, bounds, &mut shards, needed)?;
    tx.effects.room |= freed != shards.iter().map(|row| row.books.trimmed_seq).sum::<i64>();
    if room != Room::Enough {
        return Ok(room);
    }
    for record in records {
        insert(tx, &mut shards, record)?;
    }
    for row in shards.iter().filter(|row| row.books.last_arrival == Some(tx.now.as_millis())) {
        shard::store(tx.conn, row)?;
    }
    Ok(room)
}

fn insert(tx: &mut Tx<'_>, shards: &mut [ShardRow], record: &Prepared) -> Result<(), Fault> {
    let owner = shards
        .iter_mut()
        .find(|row| !row.shard.closed && (row.shard.first_hash..=row.shard.last_hash).contains(&record.hash))
        .ok_or_else(|| refused("no open shard takes this hash key: the table of shards is damaged"))?;
    let books = &mut owner.books;
    books.last_seq += 1;
    books.last_arrival = Some(tx.now.as_millis());
    books.raw_bytes += record.raw;
    books.kept_bytes += stored_len(record);
    tx.conn
        .prepare_cached(
            "INSERT INTO record(shard, seq, arrival, raw, codec, hash_key, partition_key, data) \
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            owner.id,
            books.last_seq,
            tx.now.as_millis(),
            record.raw,
            record.codec,
            record.explicit.map(u128::to_be_bytes),
            record.key,
            &record.data[..],
        ])?;
    tx.effects.fresh.push(Fresh {
        shard: owner.id,
        seq: books.last_seq,
        arrival: tx.now,
        key: record.key.clone(),
        data: record.plain.clone(),
    });
    Ok(())
}

fn stored_len(record: &Prepared) -> i64 {
    i64::try_from(record.data.len()).unwrap_or(i64::MAX)
}

fn put_sources(tx: &Tx<'_>, sources: &[SourceState]) -> rusqlite::Result<()> {
    let mut forget = tx.conn.prepare_cached("DELETE FROM source WHERE generation = ?1")?;
    let mut store = tx.conn.prepare_cached(
        "INSERT INTO source(generation, state) VALUES(?1, ?2) ON CONFLICT DO UPDATE SET state = excluded.state",
    )?;
    for SourceState { generation, state } in sources {
        let generation = generation.cast_signed();
        if state.is_empty() {
            forget.execute([generation])?;
        } else {
            store.execute(params![generation, state])?;
        }
    }
    Ok(())
}
