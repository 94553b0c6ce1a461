//! The shards of a stream. Reads no record.

use crate::backend::{BackendError, Backlog, Result, SequenceNumber, Shard, ShardId, Stream, aws::Shared};

pub(super) async fn list(shared: &Shared, stream: Stream) -> Result<Vec<Shard>> {
    Err(BackendError::Failed { what: format!("{}: later", shared.settings.stream(stream)), source: None })
}

pub(super) async fn backlog(
    shared: &Shared,
    stream: Stream,
    _shard: &ShardId,
    _after: Option<&SequenceNumber>,
) -> Result<Backlog> {
    Err(BackendError::Failed { what: format!("{}: later", shared.settings.stream(stream)), source: None })
}
