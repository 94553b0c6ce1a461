//! Rows to metrics. Reads no log, and judges nothing: `alarms` does.
//!
//! Each parcel is published once: the metric sink remembers the ids, so a batch read again after a crash adds nothing.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    backend::{
        Backend, BackendError, Batch, Checkpoint, CheckpointStore, Loss, MetricSink, Parcel, Published,
        SequenceNumber, ShardId, Stage, StartAt, Stream,
        retry::{Retry, next_batch, reader},
        work::{Ended, each_shard},
    },
    engine::{
        parcel::unpack,
        row::{Output, Row},
    },
    stop::Stop,
};

/// How often the position in a quiet shard is saved.
const SAVE_EVERY: Duration = Duration::from_mins(1);

/// Publishes the output stream until `stop`: on [`Drain`](crate::stop::Phase::Drain) to its tip, on
/// [`Stop`](crate::stop::Phase::Stop) at once.
///
/// # Errors
/// What a port fails with; what was published stays so.
pub async fn run<B: Backend>(backend: &B, stop: Stop) -> Result<(), BackendError> {
    let store = backend.checkpoints(Stage::Deliver).await?;
    let work = |shard: crate::backend::Shard, stop| {
        Shard { backend: backend.clone(), store: store.clone(), id: shard.id, stop }.run()
    };
    match each_shard(backend, &store, Stream::Output, stop, work).await {
        Err(BackendError::Stopped { why }) => {
            tracing::warn!("{why}; the next start goes on from there");
            Ok(())
        }
        ended => ended,
    }
}

/// One shard of the output stream.
struct Shard<B: Backend> {
    backend: B,
    store: B::Checkpoints,
    id: ShardId,
    stop: Stop,
}

/// A batch of parcels, and where it ends.
struct Unpacked {
    parcels: Arc<[Parcel]>,
    through: Option<SequenceNumber>,
    /// With the shard.
    ended: bool,
}

/// What a look at the shard gave.
struct Read {
    batch: Unpacked,
    /// Nobody will append anything more.
    drained: bool,
}

impl<B: Backend> Shard<B> {
    async fn run(self) -> Result<Ended, BackendError> {
        let id = self.id.clone();
        self.read().await.or_else(|error| Ended::by(&id, error))
    }

    async fn read(self) -> Result<Ended, BackendError> {
        let mut stop = self.stop.clone();
        let retry = Retry::new("loading a checkpoint", &self.stop);
        let known = retry.until_done(|| self.store.load(&self.id)).await?;
        if known.as_ref().is_some_and(|(checkpoint, _)| checkpoint.ended) {
            return Ok(Ended::EndOfShard);
        }
        let retry = Retry::new("opening the metrics", &self.stop);
        let mut sink = retry.until_done(|| self.backend.metrics()).await?;
        let mut position = known.and_then(|(checkpoint, _)| checkpoint.position);
        let mut reader = self.open(position.clone()).await?;
        let mut saved = Instant::now();
        let mut due = None;
        loop {
            // The rows of a batch are read while those of the one before are added.
            let reading = self.next(&mut reader, &mut stop);
            let (delivered, read) = tokio::join!(self.deliver(due.take(), &mut sink), reading);
            delivered?;
            let read = match read {
                // Retention overtook a slow reader.
                Err(BackendError::Gone { loss, .. }) => {
                    reader = self.open_behind(loss).await?;
                    continue;
                }
                read => read?,
            };
            let Some(Read { batch, drained }) = read else { break };
            let moved = batch.through.is_some() && batch.through != position;
            position = batch.through.clone().or(position);
            let (ended, is_empty) = (batch.ended, batch.parcels.is_empty());
            // A position also says how far the shard was complete: one that stays quiet is not past retention.
            if ended || !is_empty || (moved && saved.elapsed() >= SAVE_EVERY) {
                due = Some(batch);
                saved = Instant::now();
            }
            if ended || drained {
                self.deliver(due, &mut sink).await?;
                return Ok(if ended { Ended::EndOfShard } else { Ended::Stopped });
            }
        }
        Ok(Ended::Stopped)
    }

    /// The next batch with its rows; nothing at the stop.
    async fn next(&self, reader: &mut B::Reader, stop: &mut Stop) -> Result<Option<Read>, BackendError> {
        let next = next_batch(reader, stop, "reading the output stream").await?;
        Ok(next.map(|(batch, drained)| Read { batch: self.unpacked(batch), drained }))
    }

    fn unpacked(&self, batch: Batch) -> Unpacked {
        let parcels = batch.records.into_iter().map(|record| {
            let (parcel, foreign) = parcel(record.partition_key, &record.data);
            if foreign > 0 {
                tracing::warn!(shard = %self.id, lines = foreign, "lines of the output stream are no rows");
            }
            parcel
        });
        Unpacked { parcels: parcels.collect(), through: batch.through, ended: batch.end_of_shard }
    }

    async fn open(&self, position: Option<SequenceNumber>) -> Result<B::Reader, BackendError> {
        let start = position.map_or(StartAt::TrimHorizon, StartAt::After);
        match reader(&self.backend, (Stream::Output, &self.id), start, &self.stop).await {
            Err(BackendError::Gone { loss, .. }) => self.open_behind(loss).await,
            opened => opened,
        }
    }

    /// Opens at the oldest record kept, and says what is lost before it.
    async fn open_behind(&self, loss: Loss) -> Result<B::Reader, BackendError> {
        tracing::error!(shard = %self.id, "rows were past retention before delivery: {loss} are lost");
        reader(&self.backend, (Stream::Output, &self.id), StartAt::TrimHorizon, &self.stop).await
    }

    async fn deliver(&self, due: Option<Unpacked>, sink: &mut B::Metrics) -> Result<(), BackendError> {
        let Some(Unpacked { parcels, through, ended }) = due else { return Ok(()) };
        let published = self.publish(parcels, sink).await?;
        tracing::debug!(shard = %self.id, ?published, "delivered");
        let checkpoint = Checkpoint { position: through, state: Vec::new(), ended };
        let retry = Retry::new("saving a checkpoint", &self.stop);
        retry.until_done(|| self.store.save(&self.id, checkpoint.clone(), Vec::new())).await?;
        Ok(())
    }

    async fn publish(
        &self,
        parcels: Arc<[Parcel]>,
        sink: &mut B::Metrics,
    ) -> Result<Published, BackendError> {
        let mut retry = Retry::new("publishing metrics", &self.stop);
        loop {
            if let Some(published) = retry.attempt(sink.publish(Arc::clone(&parcels))).await? {
                return Ok(published);
            }
        }
    }
}

/// A record of the output stream, and how many of its lines are no rows: somebody else writes to the stream.
#[must_use]
pub fn parcel(partition_key: String, data: &[u8]) -> (Parcel, u64) {
    let unpacked = unpack(data);
    let (datums, foreign) = (unpacked.datums(), unpacked.foreign_lines);
    // A stream may strip partition keys; the first row's id names the parcel as well.
    let first = unpacked.rows.first().map_or_else(String::new, |row| row.id().to_owned());
    let id = if partition_key.is_empty() { first } else { partition_key };
    let rows = unpacked.rows.into_iter().filter_map(row).collect();
    (Parcel { id, datums, rows }, foreign)
}

fn row(output: Output) -> Option<Row> {
    match output {
        Output::Row(row) => Some(row),
        Output::Health(_) => None,
    }
}

#[cfg(test)]
mod tests;
