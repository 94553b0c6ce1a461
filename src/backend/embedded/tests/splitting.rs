//! A shard that was split: its rows here are written by hand, as the command that splits is still to come.

use super::{Sandbox, append};
use crate::backend::{
    Backend, ShardId, StartAt, Stream, StreamReader,
    embedded::{Embedded, group::Tx},
};

const PARENT: &str = "shardId-000000000000";

/// Closes the only shard and opens its two halves.
async fn split(backend: &Embedded) {
    let split = |tx: &mut Tx<'_>| {
        tx.conn.execute("UPDATE shard SET closed = 1 WHERE stream = 0", [])?;
        for (name, first, last) in [
            ("shardId-000000000001", 0, u128::MAX / 2),
            ("shardId-000000000002", u128::MAX / 2 + 1, u128::MAX),
        ] {
            tx.conn.execute(
                "INSERT INTO shard(stream, name, first_hash, last_hash, parents) VALUES(0, ?1, ?2, ?3, ?4)",
                (name, first.to_be_bytes(), last.to_be_bytes(), format!("[\"{PARENT}\"]")),
            )?;
        }
        Ok(())
    };
    backend.store.write(0, split).await.unwrap();
}

#[tokio::test]
async fn a_closed_shard_is_read_to_its_end_and_takes_no_more() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    append(&backend, Stream::Input, b"before\n".to_vec()).await.unwrap();
    split(&backend).await;
    append(&backend, Stream::Input, b"after\n".to_vec()).await.unwrap();

    let shards = backend.shards(Stream::Input).await.unwrap();
    let parent = ShardId(PARENT.to_owned());
    let shown: Vec<_> =
        shards.iter().map(|shard| (shard.id.0.as_str(), shard.closed, shard.parents.clone())).collect();
    assert_eq!(
        shown,
        [
            (PARENT, true, Vec::new()),
            ("shardId-000000000001", false, vec![parent.clone()]),
            ("shardId-000000000002", false, vec![parent.clone()]),
        ]
    );
    let mut reader = backend.reader(Stream::Input, &parent, StartAt::TrimHorizon).await.unwrap();
    let batch = reader.next_batch().await.unwrap();
    assert_eq!((batch.records.len(), batch.end_of_shard), (1, true));
    let batch = reader.next_batch().await.unwrap();
    assert_eq!((batch.records.len(), batch.end_of_shard), (0, true));
    assert_eq!(batch.complete_to, backend.store.clock.now());
    let stats = backend.stream_stats(Stream::Input).await.unwrap();
    assert_eq!(stats.iter().map(|shard| shard.records).collect::<Vec<_>>().iter().sum::<u64>(), 2);
}

#[tokio::test]
async fn a_closed_shard_without_records_is_not_shown() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    split(&backend).await;
    assert_eq!(backend.shards(Stream::Input).await.unwrap().len(), 2);
}
