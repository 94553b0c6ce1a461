//! What `status` and `audit` want to know of the table of leases. Takes no lease and changes nothing.

use crate::{
    backend::{
        Outbox, Result, ShardId, Stage, StoredCheckpoint, StoredLease,
        aws::{
            Aws,
            checkpoint::loaded,
            cut,
            leases::PATIENCE,
            table::{Item, Table},
        },
    },
    engine::time::Timestamp,
};

impl Aws {
    /// Every lease of this pipeline with its last cut, in the order of stages and shards. Reads the whole table: its
    /// cost goes by the size of what is in it.
    ///
    /// # Errors
    /// What the table or the bucket refuses.
    pub async fn stored_leases(&self) -> Result<Vec<StoredLease>> {
        let table = Table::new(&self.shared, PATIENCE);
        let prefix = format!("{}/", self.shared.settings.pipeline);
        let items = table.scan(&prefix).await?;
        if items.is_empty() {
            // A scan finds nothing in a table of another kind, too: to ask for a key is refused there.
            table.read(&prefix).await?;
        }
        let mut leases = Vec::new();
        for item in items {
            let Some(place) = item.key.strip_prefix(&prefix).and_then(place) else { continue };
            let (stage, stream, shard) = (place.0, place.1.to_owned(), ShardId(place.2.to_owned()));
            leases.push(self.stored_lease(item, (stage, stream, shard)).await?);
        }
        leases.sort_by(|one, other| {
            let order =
                |lease: &StoredLease| (lease.stage.as_str(), lease.stream.clone(), lease.shard.clone());
            order(one).cmp(&order(other))
        });
        Ok(leases)
    }

    async fn stored_lease(
        &self,
        mut item: Item,
        (stage, stream, shard): (Stage, String, ShardId),
    ) -> Result<StoredLease> {
        let mut lease = StoredLease {
            stage,
            stream,
            shard: shard.clone(),
            owner: item.owner.take(),
            counter: item.counter,
            saves: item.saves,
            outbox: if item.pending { Outbox::Pending } else { Outbox::Sent },
            checkpoint: None,
        };
        // One that was replaced just now is left out: who asks again sees the next.
        if item.saves > 0
            && let Some(state) = cut::state(&self.shared, &mut item).await?
        {
            let saved = Timestamp::from_millis(item.saved_ms);
            let (checkpoint, _) = loaded(item, state);
            lease.checkpoint = Some(StoredCheckpoint { stage, shard, saved, checkpoint });
        }
        Ok(lease)
    }
}

/// `analyze/stream/shard` in its parts.
fn place(key: &str) -> Option<(Stage, &str, &str)> {
    let (stage, rest) = key.split_once('/')?;
    let (stream, shard) = rest.split_once('/')?;
    let stages = [Stage::Analyze, Stage::Deliver];
    let stage = stages.into_iter().find(|known| known.as_str() == stage)?;
    Some((stage, stream, shard))
}
