//! The Lambda function's two roles: a stage that is handed its records by an event source mapping. Reads no stream.

mod analyze;
mod deliver;

use aws_lambda_events::encodings::Base64Data;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    app::{Error, Exit, Work, places},
    clock::Clock,
    config::{Config, Function, Role, Stage},
    engine::time::Timestamp,
};

/// A record as Lambda hands it over.
#[derive(Debug, Deserialize)]
struct Record {
    /// `shardId-000000000006:<sequence number>`.
    #[serde(rename = "eventID", default)]
    id: String,
    kinesis: Payload,
}

/// What Kinesis says of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    sequence_number: String,
    /// Empty where the stream strips it.
    #[serde(default)]
    partition_key: String,
    #[serde(rename = "approximateArrivalTimestamp", deserialize_with = "arrival")]
    arrival: Timestamp,
    data: Base64Data,
}

impl Record {
    fn shard(&self) -> &str {
        self.id.split_once(':').map_or("", |(shard, _)| shard)
    }
}

/// Seconds with a fraction. `aws_lambda_events` takes the digits of the fraction for milliseconds, so that .98 s becomes
/// 98 ms (1.2, `SecondTimestamp`).
fn arrival<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 are far from 2^53")]
    let millis = (seconds * 1_000.0).round() as i64;
    Ok(Timestamp::from_millis(millis))
}

/// `Records`, which a call without any may leave out or send as null.
fn records<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Record>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

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

/// Serves the Runtime API until Lambda ends the process. Fails if the configuration is wrong or something out of reach,
/// before the first event is taken.
#[must_use]
pub fn run(config: Config, function: Function) -> Work<'static, ()> {
    Box::pin(serve(config, function))
}

async fn serve(config: Config, function: Function) -> Result<(), Error> {
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
fn first(records: &[Record]) -> Option<String> {
    records.first().map(|record| record.kinesis.sequence_number.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_read_to_the_millisecond() {
        for (seconds, millis) in [
            ("1545084650.987", 1_545_084_650_987),
            ("1545084650.98", 1_545_084_650_980),
            ("1545084650.009", 1_545_084_650_009),
            ("1545084650", 1_545_084_650_000),
            ("1.545084711166E9", 1_545_084_711_166),
        ] {
            let json = format!(
                r#"{{"eventID":"shardId-000000000006:4959","kinesis":{{"partitionKey":"1","sequenceNumber":"4959",
                "data":"SGk=","approximateArrivalTimestamp":{seconds}}}}}"#
            );
            let record: Record = serde_json::from_str(&json).unwrap();
            assert_eq!(record.kinesis.arrival.as_millis(), millis, "{seconds}");
            assert_eq!((record.shard(), &record.kinesis.data[..]), ("shardId-000000000006", &b"Hi"[..]));
        }
    }
}
