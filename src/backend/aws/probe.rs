//! Whether this machine may do what the stages do: calls that change nothing. Moves no position, publishes no datum.
//!
//! Where a call would write, it is made so that the service must refuse it *behind* its check of permissions: a hash key
//! out of range, a condition that cannot hold, a value that is no number. That refusal is the proof.

use aws_sdk_cloudwatch::types::MetricDatum;
use aws_sdk_dynamodb::types::{AttributeValue, KeyType};
use aws_sdk_kinesis::{
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::{PutRecordsRequestEntry, ShardIteratorType},
};

use crate::backend::{
    Backend, BackendError, Result, Stage, Stream,
    aws::{Aws, error::Call},
};

/// A key that no lease and no parcel has.
const NOBODY: &str = "logtally-check";
/// A hash key past the last one: 2^128 (Kinesis, `PutRecordsRequestEntry`).
const OUT_OF_RANGE: &str = "340282366920938463463374607431768211456";

/// What was tried, and what came of it.
#[derive(Debug)]
pub struct Probe {
    /// The thing: `stream logtally-input`.
    pub what: String,
    /// The permissions it takes, as IAM names them, and what was found.
    pub found: Result<String>,
}

impl Aws {
    /// Tries everything that `stages` do.
    pub async fn probe(&self, stages: &[Stage]) -> Vec<Probe> {
        let settings = &self.shared.settings;
        let (input, output) = (&settings.input, &settings.output);
        let mut probes = Vec::new();
        let mut note = |what: String, found| probes.push(Probe { what, found });
        let has = |stage| stages.contains(&stage);
        if has(Stage::Produce) {
            note(format!("write to stream {input}"), self.may_write(Stream::Input).await);
        }
        if has(Stage::Analyze) {
            note(format!("read stream {input}"), self.may_read(Stream::Input).await);
            note(format!("write to stream {output}"), self.may_write(Stream::Output).await);
        }
        if has(Stage::Deliver) {
            note(format!("read stream {output}"), self.may_read(Stream::Output).await);
        }
        if has(Stage::Analyze) || has(Stage::Deliver) {
            note(format!("table {}", settings.table), self.may_use(&settings.table, "leaseKey").await);
        }
        if has(Stage::Analyze)
            && let Some(bucket) = &settings.bucket
        {
            note(format!("bucket {bucket}"), self.may_store(bucket).await);
        }
        if has(Stage::Deliver) {
            note(format!("table {}", settings.ledger), self.may_use(&settings.ledger, "id").await);
            note(format!("namespace {}", settings.namespace), self.may_publish().await);
        }
        probes
    }

    async fn may_read(&self, stream: Stream) -> Result<String> {
        let (client, name) = (&self.shared.clients.kinesis, self.shared.settings.stream(stream));
        let shards = self.shards(stream).await?;
        let Some(first) = shards.first() else { return Ok("no shards".to_owned()) };
        let call = |action| Call { action, kind: "stream", name };
        let iterator = client.get_shard_iterator().stream_name(name).shard_id(&first.id.0);
        let iterator = iterator.shard_iterator_type(ShardIteratorType::Latest).send().await;
        let iterator = iterator.map_err(|error| call("kinesis:GetShardIterator").fault(error))?;
        let read = client.get_records().set_shard_iterator(iterator.shard_iterator).limit(1).send().await;
        read.map_err(|error| call("kinesis:GetRecords").fault(error))?;
        let open = shards.iter().filter(|shard| !shard.closed).count();
        Ok(format!("{open} open shards, {} closed", shards.len() - open))
    }

    async fn may_write(&self, stream: Stream) -> Result<String> {
        let (client, name) = (&self.shared.clients.kinesis, self.shared.settings.stream(stream));
        // Whether there is one comes first: a hash key may be refused before that.
        self.shards(stream).await?;
        let call = Call { action: "kinesis:PutRecords", kind: "stream", name };
        let entry = PutRecordsRequestEntry::builder().partition_key(NOBODY).explicit_hash_key(OUT_OF_RANGE);
        let entry = entry.data(Blob::new(*b"-")).build();
        let entry = entry.map_err(|error| BackendError::failed(call.to_string(), error))?;
        let put = client.put_records().stream_name(name).records(entry).send().await;
        refused_as(call, put, &["InvalidArgumentException", "ValidationException"])
    }

    async fn may_use(&self, table: &str, key: &str) -> Result<String> {
        let client = &self.shared.clients.dynamodb;
        let call = |action| Call { action, kind: "table", name: table };
        let found = client.describe_table().table_name(table).send().await;
        let found = found.map_err(|error| call("dynamodb:DescribeTable").fault(error))?;
        let schema =
            found.table.unwrap_or_else(|| aws_sdk_dynamodb::types::TableDescription::builder().build());
        let is = |element: &aws_sdk_dynamodb::types::KeySchemaElement| {
            element.key_type == KeyType::Hash && element.attribute_name == key
        };
        if schema.key_schema().len() != 1 || !schema.key_schema().iter().any(is) {
            return Err(BackendError::Refused {
                what: format!(
                    "table {table} has another schema: its one key is to be {key} (infra/logtally.yaml makes it so)"
                ),
                source: None,
            });
        }
        let id = || AttributeValue::S(NOBODY.to_owned());
        let read = client.get_item().table_name(table).key(key, id()).send().await;
        read.map_err(|error| call("dynamodb:GetItem").fault(error))?;
        let update = client.update_item().table_name(table).key(key, id());
        let update =
            update.update_expression("SET checked = :one").condition_expression("attribute_exists(#key)");
        let update = update.expression_attribute_names("#key", key);
        let update = update.expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
        refused_as(call("dynamodb:UpdateItem"), update.send().await, &["ConditionalCheckFailedException"])
    }

    async fn may_store(&self, bucket: &str) -> Result<String> {
        let call = Call { action: "s3:PutObject", kind: "bucket", name: bucket };
        let put = self.shared.clients.s3.put_object().bucket(bucket).key(format!("cuts/{NOBODY}"));
        let put = put.if_match("\"0\"").send().await;
        refused_as(call, put, &["PreconditionFailed", "NoSuchKey"])
    }

    async fn may_publish(&self) -> Result<String> {
        let namespace = self.shared.settings.namespace.as_str();
        let call = Call { action: "cloudwatch:PutMetricData", kind: "namespace", name: namespace };
        let datum = MetricDatum::builder().metric_name(NOBODY).value(f64::NAN).build();
        let put = self.shared.clients.cloudwatch_once.put_metric_data().namespace(namespace);
        let put = put.metric_data(datum).send().await;
        refused_as(call, put, &["InvalidParameterValue", "InvalidParameterValueException", "ValidationError"])
    }
}

/// That a call was refused with one of `codes` proves that it was permitted.
fn refused_as<T, E>(
    call: Call<'_>,
    outcome: std::result::Result<T, SdkError<E, aws_sdk_kinesis::config::http::HttpResponse>>,
    codes: &[&str],
) -> Result<String>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match outcome {
        Ok(_) => Ok(format!("{}: answered", call.action)),
        Err(error) if error.code().is_some_and(|code| codes.contains(&code)) => {
            Ok(format!("{}: permitted", call.action))
        }
        Err(error) => Err(call.fault(error)),
    }
}
