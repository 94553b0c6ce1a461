//! The stages' locks and their cuts: state and outbox in one transaction. Interprets no state.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rusqlite::{OptionalExtension, params};

use crate::backend::{
    BackendError, Checkpoint, CheckpointStore, Held, Outbox, Outgoing, Result, SequenceNumber, Shard,
    ShardId, Stage, Stream,
    embedded::{
        error::failed,
        payload::Codec,
        retention::Room,
        shard,
        store::{Store, beside, blocking},
        stream::{self, Waiting},
    },
};

/// How often the list of shards is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The cuts of one stage, and its lock.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    store: Arc<Store>,
    codec: Arc<Codec>,
    stage: Stage,
    /// Held as long as any clone lives; the system frees it with the process.
    _lock: Arc<File>,
}

impl Checkpoints {
    pub(super) async fn open(store: Arc<Store>, codec: Arc<Codec>, stage: Stage) -> Result<Self> {
        let path = store.path.clone();
        let lock = blocking(move || lock(&path, stage)).await?;
        Ok(Self { store, codec, stage, _lock: Arc::new(lock) })
    }
}

/// Who holds the stage's lock holds every shard.
impl CheckpointStore for Checkpoints {
    fn hold_every(&self) -> Duration {
        LOOK_EVERY
    }

    async fn hold(&self, shards: &[Shard]) -> Result<Held> {
        Ok(Held { shards: shards.iter().map(|shard| shard.id.clone()).collect(), ..Held::default() })
    }

    async fn hold_all(&self, _shards: &[Shard]) -> Result<()> {
        Ok(())
    }

    async fn seize(&self, _shard: &Shard) -> Result<()> {
        Ok(())
    }

    async fn release(&self, _shard: &ShardId) -> Result<()> {
        Ok(())
    }

    async fn load(&self, shard: &ShardId) -> Result<Option<(Checkpoint, Outbox)>> {
        let (stage, shard) = (self.stage, shard.clone());
        self.store
            .read(move |conn| {
                let mut statement = conn.prepare_cached(
                    "SELECT position, state, ended FROM checkpoint WHERE stage = ?1 AND shard = ?2",
                )?;
                let found = statement.query_row(params![stage.as_str(), shard.0], |row| {
                    let position: Option<String> = row.get(0)?;
                    let position = position.map(SequenceNumber);
                    Ok(Checkpoint { position, state: row.get(1)?, ended: row.get(2)? })
                });
                Ok(found.optional()?.map(|checkpoint| (checkpoint, Outbox::Sent)))
            })
            .await
    }

    async fn save(&self, shard: &ShardId, checkpoint: Checkpoint, outbox: Vec<Outgoing>) -> Result<Outbox> {
        let (stage, shard, bounds) = (self.stage, shard.clone(), self.store.bounds.clone());
        let (weight, checkpoint) = (checkpoint.state.len(), Arc::new(checkpoint));
        let records = Arc::new(self.codec.prepare(outbox).await?);
        Waiting::new(&self.store, Stream::Output, records, weight)
            .settle(move |tx, records| {
                let room = stream::put(tx, Stream::Output, &bounds, records)?;
                if room == Room::Enough {
                    store(tx.conn, stage, &shard, &checkpoint, tx.now.as_millis())?;
                    tx.effects.room = true;
                }
                Ok(room)
            })
            .await?;
        Ok(Outbox::Sent)
    }
}

fn store(
    conn: &rusqlite::Connection,
    stage: Stage,
    shard: &ShardId,
    checkpoint: &Checkpoint,
    now: i64,
) -> rusqlite::Result<()> {
    let position = checkpoint.position.as_ref().map(|position| position.0.as_str());
    conn.prepare_cached(
        "INSERT INTO checkpoint(stage, shard, position, saved, state, ended) VALUES(?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO UPDATE SET position = excluded.position, saved = excluded.saved, state = excluded.state, \
         ended = excluded.ended",
    )?
    .execute(params![stage.as_str(), shard.0, position, now, checkpoint.state, checkpoint.ended])?;
    let reads = match stage {
        Stage::Produce => return Ok(()),
        Stage::Analyze => Stream::Input,
        Stage::Deliver => Stream::Output,
    };
    shard::passed(conn, reads, shard, position.unwrap_or("0"))
}

/// Takes the lock of a stage: an advisory lock on a file beside the database, which names its holder.
fn lock(database: &Path, stage: Stage) -> Result<File> {
    let path = beside(database, &format!(".{}.lock", stage.as_str()));
    let unusable = |error: std::io::Error| failed(format!("{}: {error}", path.display()), error);
    // Not truncated: until the lock is ours, what it says is its holder's.
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held(database, stage, &mut file)),
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    file.set_len(0).map_err(unusable)?;
    file.rewind().map_err(unusable)?;
    file.write_all(std::process::id().to_string().as_bytes()).map_err(unusable)?;
    Ok(file)
}

fn held(database: &Path, stage: Stage, file: &mut File) -> BackendError {
    let mut holder = String::new();
    let holder = match file.take(HOLDER_BYTES).read_to_string(&mut holder) {
        Ok(_) if !holder.trim().is_empty() => format!(" (process {})", holder.trim()),
        _ => String::new(),
    };
    BackendError::Closed {
        why: format!(
            "{} is already running on {}{holder}: stop it, or use another state_dir",
            stage.as_str(),
            database.display()
        ),
    }
}

/// Bytes of a lock file that are read: a process number is shorter.
const HOLDER_BYTES: u64 = 32;
