//! Every lease in one hand, for a start that makes the cuts anew. Makes no cut.

use std::sync::Arc;

use tokio::time::sleep;

use crate::backend::{
    BackendError, Result, Shard, ShardId,
    lease::{Book, Owner, Standing, holder::Holder, table::Leases},
};

impl<L: Leases> Holder<L> {
    /// As the port has it. Leases are taken in the order of their shards, so that of several workers the one that has
    /// the first shard gets all; the others watch it.
    ///
    /// # Errors
    /// [`BackendError::Closed`] if somebody else works; what the table fails with.
    pub async fn hold_all(self: &Arc<Self>, shards: &[Shard]) -> Result<()> {
        let _alone = self.watch.lock().await;
        let mut shards = shards.to_vec();
        shards.sort_by(|one, other| one.id.cmp(&other.id));
        let taken = self.take_all(&shards).await;
        if taken.is_err() {
            self.release_but(&[]).await;
        }
        taken
    }

    async fn take_all(self: &Arc<Self>, shards: &[Shard]) -> Result<()> {
        // Who was alive before may have been stopped since, to make way.
        let mut book = Book::new(self.lease_ms);
        loop {
            let seen = self.look(shards, true).await?;
            book.look(self.now_ms(), &seen);
            let now_ms = self.now_ms();
            for lease in &seen {
                if let (Standing::Living, Owner::Other(owner)) = (book.standing(now_ms, lease), &lease.owner)
                {
                    return Err(self.in_use(&lease.shard, owner));
                }
            }
            let mut all = true;
            for (shard, lease) in shards.iter().zip(&seen) {
                all = match book.standing(now_ms, lease) {
                    Standing::Mine => true,
                    Standing::Open => self.take(shard, lease).await?,
                    Standing::Living | Standing::Unproven => false,
                };
                if !all {
                    break;
                }
            }
            if all {
                return Ok(());
            }
            sleep(self.every()).await;
        }
    }

    fn in_use(&self, shard: &ShardId, owner: &str) -> BackendError {
        let stage = self.stage.as_str();
        BackendError::Closed {
            why: format!(
                "{shard} is being read by worker {owner} of {stage}: stop every {stage}, then start this one"
            ),
        }
    }
}
