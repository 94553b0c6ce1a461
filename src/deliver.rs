//! Rows to metrics. Reads no log, and judges nothing: `alarms` does.
//!
//! Each parcel is published once: the metric sink remembers the ids, so a batch read again after a crash adds nothing.

use tokio::task::JoinSet;

use crate::{
    backend::{
        Backend, BackendError, Batch, Checkpoint, CheckpointStore, MetricSink, Parcel, Published,
        SequenceNumber, ShardId, Stage, StartAt, Stream,
        retry::{Retry, is_drained, next_batch},
    },
    engine::{
        parcel::unpack,
        row::{Output, Row},
    },
    stop::Stop,
};

/// Publishes the output stream until `stop`: on [`Drain`](crate::stop::Phase::Drain) to its tip, on [`Stop`](crate::stop::Phase::Stop) at once.
///
/// # Errors
/// What a port fails with; what was published stays so.
pub async fn run<B: Backend>(backend: &B, stop: Stop) -> Result<(), BackendError> {
    let store = backend.checkpoints(Stage::Deliver).await?;
    let mut tasks = JoinSet::new();
    for shard in backend.shards(Stream::Output).await? {
        let task = Shard { backend: backend.clone(), store: store.clone(), id: shard.id, stop: stop.clone() };
        tasks.spawn(task.run());
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|why| BackendError::failed("a shard's task ended", why))??;
    }
    Ok(())
}

/// One shard of the output stream.
struct Shard<B: Backend> {
    backend: B,
    store: B::Checkpoints,
    id: ShardId,
    stop: Stop,
}

impl<B: Backend> Shard<B> {
    async fn run(mut self) -> Result<(), BackendError> {
        let position = self.store.load(&self.id).await?.and_then(|(checkpoint, _)| checkpoint.position);
        let mut sink = self.backend.metrics().await?;
        let mut reader = self.open(position).await?;
        while let Some(batch) = next_batch(&mut reader, &mut self.stop, "reading the output stream").await? {
            let drained = is_drained(&batch, &self.stop);
            let ended = batch.end_of_shard;
            self.deliver(batch, &mut sink).await?;
            if drained || ended {
                break;
            }
        }
        Ok(())
    }

    /// Opens the shard behind `position`. Rows that are past retention are lost for the metrics, and that is said.
    async fn open(&self, position: Option<SequenceNumber>) -> Result<B::Reader, BackendError> {
        let start = position.map_or(StartAt::TrimHorizon, StartAt::After);
        match self.backend.reader(Stream::Output, &self.id, start).await {
            Err(BackendError::Gone { loss, .. }) => {
                tracing::error!(shard = %self.id, "rows were past retention before delivery: {loss} are lost");
                self.backend.reader(Stream::Output, &self.id, StartAt::TrimHorizon).await
            }
            opened => opened,
        }
    }

    async fn deliver(&self, batch: Batch, sink: &mut B::Metrics) -> Result<(), BackendError> {
        if batch.records.is_empty() {
            return Ok(());
        }
        let mut parcels = Vec::with_capacity(batch.records.len());
        for record in batch.records {
            let unpacked = unpack(&record.data);
            if unpacked.foreign_lines > 0 {
                tracing::warn!(shard = %self.id, lines = unpacked.foreign_lines, "lines of the output stream are no rows");
            }
            let datums = unpacked.datums();
            let rows = unpacked.rows.into_iter().filter_map(row).collect();
            parcels.push(Parcel { id: record.partition_key, datums, rows });
        }
        let published = self.publish(parcels, sink).await?;
        tracing::debug!(shard = %self.id, ?published, "delivered");
        let checkpoint = Checkpoint { position: batch.through, state: Vec::new() };
        let mut retry = Retry::new("saving a checkpoint");
        while let Err(error) = self.store.save(&self.id, checkpoint.clone(), Vec::new()).await {
            retry.pause(error).await?;
        }
        Ok(())
    }

    async fn publish(&self, parcels: Vec<Parcel>, sink: &mut B::Metrics) -> Result<Published, BackendError> {
        let mut retry = Retry::new("publishing metrics");
        loop {
            match sink.publish(parcels.clone()).await {
                Ok(published) => return Ok(published),
                Err(error) => retry.pause(error).await?,
            }
        }
    }
}

fn row(output: Output) -> Option<Row> {
    match output {
        Output::Row(row) => Some(row),
        Output::Health(_) => None,
    }
}
