//! Workers that share a table of leases on moto.

use std::{collections::BTreeSet, time::Duration};

use logtally::{
    backend::{
        Backend, BackendError, Checkpoint, CheckpointStore, Held, Outbox, Outgoing, SequenceNumber, Shard,
        ShardId, Stage,
        aws::{Aws, Checkpoints, Clients, Settings},
    },
    clock::Clock,
};

use super::{line::Line, moto::Moto};

/// What leases last here, in milliseconds: long enough for a machine that does other things as well.
pub(crate) const LEASE_MS: u64 = 6_000;
pub(crate) const TABLE: &str = "leases";
pub(crate) const BUCKET: &str = "cuts.example";

/// A table and its workers.
pub(crate) struct Office {
    pub(crate) moto: Moto,
    /// The bucket that workers are told of.
    pub(crate) bucket: Option<String>,
}

impl Office {
    pub(crate) async fn open() -> Self {
        let moto = Moto::start();
        moto.create_table_of_leases(TABLE).await;
        moto.create_bucket(BUCKET).await;
        Self { moto, bucket: None }
    }

    pub(crate) async fn aws(&self, name: &str, line: Option<&Line>) -> Aws {
        let config = match line {
            Some(line) => self.moto.config().into_builder().http_client(line.clone()).build(),
            None => self.moto.config(),
        };
        let settings = Settings {
            table: TABLE.to_owned(),
            bucket: self.bucket.clone(),
            pipeline: "p".to_owned(),
            lease_ms: LEASE_MS,
            ..Settings::new(name, Clock::system())
        };
        Aws::open(Clients::new(&config), settings).await.unwrap()
    }

    pub(crate) async fn worker(&self, name: &str) -> Worker {
        Worker(self.aws(name, None).await.checkpoints(Stage::Analyze).await.unwrap())
    }
}

/// A process of `analyze`, as far as it has to do with leases.
#[derive(Clone)]
pub(crate) struct Worker(pub(crate) Checkpoints);

impl Worker {
    pub(crate) async fn hold(&self, shards: &[Shard]) -> Held {
        self.0.hold(shards).await.unwrap()
    }

    /// Comes back until it holds as many of `shards`.
    pub(crate) async fn hold_until(&self, shards: &[Shard], count: usize) -> BTreeSet<ShardId> {
        loop {
            let held = self.hold(shards).await.shards;
            if held.len() == count {
                return held.into_iter().collect();
            }
            pause().await;
        }
    }

    pub(crate) async fn load(&self, shard: &Shard) -> Option<(Checkpoint, Outbox)> {
        self.0.load(&shard.id).await.unwrap()
    }

    pub(crate) async fn save(&self, shard: &Shard, cut: Checkpoint) -> Result<Outbox, BackendError> {
        self.0.save(&shard.id, cut, Vec::new()).await
    }
}

/// Open shards 0 to `count`.
pub(crate) fn shards(count: u128) -> Vec<Shard> {
    let width = u128::MAX / count;
    let shard = |number: u128| Shard {
        id: ShardId(format!("shardId-{number:012}")),
        first_hash: number * width,
        last_hash: number * width + width - 1,
        parents: Vec::new(),
        closed: false,
    };
    (0..count).map(shard).collect()
}

pub(crate) fn cut(position: &str, state: impl Into<Vec<u8>>) -> Checkpoint {
    Checkpoint { position: Some(SequenceNumber(position.to_owned())), state: state.into(), ended: false }
}

/// One record.
pub(crate) fn outbox() -> Vec<Outgoing> {
    vec![Outgoing { partition_key: "rows".to_owned(), hash_key: None, data: "{}".into() }]
}

/// As long as a worker waits until it comes back.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(LEASE_MS / 12)).await;
}

pub(crate) fn is_closed<T>(result: &Result<T, BackendError>) -> bool {
    matches!(result, Err(BackendError::Closed { .. }))
}
