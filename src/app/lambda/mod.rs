//! The Lambda function's two roles: a stage that is handed its records by an event source mapping. Reads no stream.

mod analyze;
mod deliver;

use aws_lambda_events::kinesis::KinesisEventRecord;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;

use crate::{
    app::{Error, Exit, places},
    clock::Clock,
    config::{Config, Function, Role, Stage},
};

/// What a function answers: from which record on Lambda is to hand over the batch again.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failures {
    batch_item_failures: Vec<Failure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: String,
}

impl Failures {
    /// Everything from this record on.
    fn from(sequence: impl Into<String>) -> Self {
        Self { batch_item_failures: vec![Failure { item_identifier: sequence.into() }] }
    }
}

/// Serves the Runtime API until Lambda ends the process.
///
/// # Errors
/// What is wrong with the configuration or out of reach, before the first event is taken.
pub async fn run(config: Config, function: Function) -> Result<(), Error> {
    let clock = Clock::system();
    let ended = match function.role {
        Role::Deliver => {
            let aws = places::aws(&config, &[Stage::Deliver], &clock).await?;
            let deliver = deliver::Deliver::open(&aws, function.dead_letters).await?;
            let serve = |event: LambdaEvent<deliver::Event>| async {
                Ok::<_, lambda_runtime::Error>(deliver.handle(event.payload).await)
            };
            lambda_runtime::run(service_fn(serve)).await
        }
        Role::Analyze => {
            let aws = places::aws(&config, &[Stage::Analyze], &clock).await?;
            let analyze = analyze::Analyze::open(aws, &config, clock).await?;
            let serve = |event: LambdaEvent<analyze::Event>| async { analyze.handle(event.payload).await };
            lambda_runtime::run(service_fn(serve)).await
        }
    };
    ended.map_err(|why| Error::new(Exit::Unavailable, why))
}

/// The first record's sequence number; an empty batch has none.
fn first(records: &[KinesisEventRecord]) -> Option<String> {
    records.first().map(|record| record.kinesis.sequence_number.clone())
}

/// The shard of which Lambda hands over records: `eventID` is `shardId-000000000006:<sequence number>`.
fn shard_of(record: &KinesisEventRecord) -> &str {
    record.event_id.as_deref().and_then(|id| id.split_once(':')).map_or("", |(shard, _)| shard)
}
