//! Rows of a batch to metrics, each parcel once however often Lambda hands it over.

use serde::Deserialize;
use tokio::sync::Mutex;

use crate::{
    app::{
        Error,
        lambda::{Failures, Record, first, records},
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
    #[serde(rename = "Records", default, deserialize_with = "records")]
    records: Vec<Record>,
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

    /// Publishes a batch; what could not be published, or put into the queue, is handed over again.
    pub(super) async fn handle(&self, event: Event) -> Failures {
        let Some(first) = first(&event.records) else { return Failures::default() };
        let mut parcels = Vec::with_capacity(event.records.len());
        let mut poison = Vec::new();
        for record in &event.records {
            let (parcel, foreign) =
                deliver::parcel(record.kinesis.partition_key.clone(), &record.kinesis.data);
            if foreign > 0 {
                poison.push((record, foreign));
            }
            if !parcel.datums.is_empty() {
                parcels.push(parcel);
            }
        }
        match self.sink.lock().await.publish(parcels.into()).await {
            Ok(published) => tracing::info!(?published, "delivered"),
            Err(error) => {
                tracing::error!(%error, "the batch is to come again");
                return Failures::from(first);
            }
        }
        // Last, so that a batch which comes again does not bring them twice.
        for (record, foreign) in poison {
            if let Err(error) = self.bury(record, foreign).await {
                tracing::error!(%error, "the batch is to come again from the record on that is no row");
                return Failures::from(record.kinesis.sequence_number.clone());
            }
        }
        Failures::default()
    }

    async fn bury(&self, record: &Record, foreign: u64) -> Result<(), BackendError> {
        let (shard, record) = (record.shard(), &record.kinesis);
        let reason = format!("{foreign} lines are no rows");
        tracing::warn!(shard, sequence = record.sequence_number, "{reason}");
        let Some(queue) = &self.dead_letters else { return Ok(()) };
        let letter = DeadLetter {
            reason,
            shard: shard.to_owned(),
            sequence: record.sequence_number.clone(),
            partition_key: record.partition_key.clone(),
            data: &record.data,
        };
        queue.put(&letter).await
    }
}
