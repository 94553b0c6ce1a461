//! Rows of a batch to metrics, each parcel once however often Lambda hands it over.

use aws_lambda_events::kinesis::KinesisEventRecord;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::{
    app::{
        Error,
        lambda::{Failures, first, shard_of},
    },
    backend::{
        Backend, BackendError, MetricSink,
        aws::{Aws, DeadLetter, DeadLetters, Metrics},
    },
    deliver,
};

/// What Lambda hands over.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "Records", default)]
    records: Vec<KinesisEventRecord>,
}

/// The role `deliver`.
pub(super) struct Deliver {
    sink: Mutex<Metrics>,
    dead_letters: Option<DeadLetters>,
}

impl Deliver {
    pub(super) async fn open(aws: &Aws, queue: Option<String>) -> Result<Self, Error> {
        let dead_letters = queue.map(|queue| aws.dead_letters(queue));
        Ok(Self { sink: Mutex::new(aws.metrics().await?), dead_letters })
    }

    /// Publishes a batch; what could not be published is handed over again.
    pub(super) async fn handle(&self, event: Event) -> Failures {
        let Some(first) = first(&event.records) else { return Failures::default() };
        match self.publish(event.records).await {
            Ok(()) => Failures::default(),
            Err(error) => {
                tracing::error!(%error, "the batch is to come again");
                Failures::from(first)
            }
        }
    }

    async fn publish(&self, records: Vec<KinesisEventRecord>) -> Result<(), BackendError> {
        let mut parcels = Vec::with_capacity(records.len());
        for record in records {
            let shard = shard_of(&record).to_owned();
            let record = record.kinesis;
            let (parcel, foreign) = deliver::parcel(record.partition_key.clone(), &record.data);
            if foreign > 0 {
                let reason = format!("{foreign} lines are no rows");
                tracing::warn!(shard, sequence = record.sequence_number, "{reason}");
                let letter = DeadLetter {
                    reason,
                    shard,
                    sequence: record.sequence_number,
                    partition_key: record.partition_key,
                    data: &record.data,
                };
                self.bury(&letter).await?;
            }
            if !parcel.datums.is_empty() {
                parcels.push(parcel);
            }
        }
        let published = self.sink.lock().await.publish(parcels).await?;
        tracing::info!(?published, "delivered");
        Ok(())
    }

    async fn bury(&self, letter: &DeadLetter<'_>) -> Result<(), BackendError> {
        match &self.dead_letters {
            Some(queue) => queue.put(letter).await,
            None => Ok(()),
        }
    }
}
