//! The shards that a new one comes from: ended if nobody read them to their end, and what they have seen. Reads none.

use crate::{
    analyze::{AnalyzeError, StartMode, shard::Worker, start::load},
    backend::{Backend, BackendError, CheckpointStore, Loss, Outbox, Shard, ShardId},
    engine::state::State,
};

impl<B: Backend> Worker<B> {
    /// Ends the parents of a new shard that were not read to their end. Parents are waited for as long as the stream
    /// lists them: these have left the list, and what they held is past retention.
    pub(super) async fn close_parents(&self, shard: &Shard) -> Result<(), AnalyzeError> {
        for parent in &shard.parents {
            let Some(found) = load(&self.store, parent, &self.stop).await? else { continue };
            if !found.cut.ended {
                if self.settings.from == StartMode::LastStoppedPoint && !self.settings.accept_loss {
                    return Err(left_the_list(parent, &shard.id).into());
                }
                tracing::warn!(shard = %parent, "going on without what is past retention: it left the list unread");
            }
            if !found.cut.ended || found.outbox == Outbox::Pending {
                let parent = Shard { id: parent.clone(), parents: Vec::new(), closed: true, ..shard.clone() };
                self.store.seize(&parent).await?;
                // A parent has a cut, and so this goes no deeper.
                let resumed = self.clone().resume(parent.clone()).await?;
                if let Some(running) = resumed {
                    running.finish().await?;
                }
                self.store.release(&parent.id).await?;
            }
        }
        Ok(())
    }

    /// A child begins with what its parents have seen.
    pub(super) async fn inherited(&self, shard: &Shard, mut state: State) -> Result<State, AnalyzeError> {
        for parent in &shard.parents {
            if let Some(found) = load(&self.store, parent, &self.stop).await? {
                state.inherit(&found.cut.state);
            }
        }
        Ok(state)
    }
}

fn left_the_list(parent: &ShardId, child: &ShardId) -> BackendError {
    BackendError::Gone {
        why: format!(
            "{parent}, which {child} comes from, is no longer listed and was not read to its end: an unknown number of \
             records passed retention unread; --accept-loss goes on without them"
        ),
        loss: Loss::default(),
    }
}
