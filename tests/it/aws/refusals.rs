//! What Kinesis refuses comes out as one clear line that names the remedy.

use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};
use aws_sdk_kinesis::config::SharedCredentialsProvider;
use logtally::{
    backend::{
        Append, Backend, BackendError, StartAt, Stream, StreamReader, StreamWriter,
        aws::{Aws, Clients, Settings},
    },
    clock::Clock,
};
use serde_json::{Value, json};

use super::{double::Kinesis, stub::Stub};

async fn open(config: &aws_config::SdkConfig) -> Aws {
    let settings = Settings { tip_wait_ms: 10, ..Settings::new("worker", Clock::system()) };
    Aws::open(Clients::new(config), settings).await.unwrap()
}

/// The kind of error that listing the shards gives, and its words.
async fn listing(config: &aws_config::SdkConfig) -> String {
    match open(config).await.shards(Stream::Input).await {
        Err(BackendError::Refused { what, .. }) => format!("refused: {what}"),
        Err(BackendError::Busy { why }) => format!("busy: {why}"),
        Err(BackendError::Failed { what, .. }) => format!("failed: {what}"),
        other => format!("{other:?}"),
    }
}

async fn answered(status: u16, kind: &'static str, message: &'static str) -> String {
    let stub = Stub::start(move |_, _| (status, json!({"__type": kind, "message": message}))).await;
    listing(&stub.config).await
}

#[tokio::test]
async fn every_refusal_is_one_line_with_its_remedy() {
    let denied =
        answered(400, "AccessDeniedException", "User: u is not authorized to perform: kinesis:ListShards")
            .await;
    insta::assert_snapshot!(denied, @"refused: kinesis:ListShards on stream logtally-input: not permitted: allow kinesis:ListShards in the role's policy (User: u is not authorized to perform: kinesis:ListShards)");
    let missing =
        answered(400, "ResourceNotFoundException", "Stream logtally-input under account 1 not found.").await;
    insta::assert_snapshot!(missing, @"refused: stream logtally-input does not exist: create it (infra/deploy.sh does), or name another in [aws]");
    let unknown = answered(
        400,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )
    .await;
    insta::assert_snapshot!(unknown, @"refused: kinesis:ListShards on stream logtally-input: no valid AWS credentials: set AWS_PROFILE, log in, or give the machine a role (The security token included in the request is invalid.)");
    let busy = answered(400, "LimitExceededException", "Rate exceeded").await;
    insta::assert_snapshot!(busy, @"busy: kinesis:ListShards on stream logtally-input: LimitExceededException: Rate exceeded");
    let down = answered(503, "ServiceUnavailable", "later").await;
    assert!(down.starts_with("busy: "), "{down}");
}

#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("nothing in the chain has any")))
    }
}

#[tokio::test]
async fn without_credentials_it_says_how_to_get_some() {
    let stub = Stub::start(|_, _| (200, Value::Null)).await;
    let builder = stub.config.clone().into_builder();
    let config = builder.credentials_provider(SharedCredentialsProvider::new(Nobody)).build();
    let said = listing(&config).await;
    assert!(said.starts_with("refused: kinesis:ListShards on stream logtally-input: no valid AWS credentials: set AWS_PROFILE, log in"), "{said}");
    assert!(!said.contains('\n'));
}

#[tokio::test]
async fn a_service_out_of_reach_is_waited_for() {
    let stub = Stub::start(|_, _| (200, Value::Null)).await;
    let config = stub.config.clone();
    drop(stub);
    let said = listing(&config).await;
    assert!(said.starts_with("busy: kinesis:ListShards on stream logtally-input: "), "{said}");
}

/// What reading a shard takes, for one that holds one record without a key and then throttles.
fn stripped(operation: &str, _: &Value) -> (u16, Value) {
    match operation {
        "DescribeStreamSummary" => (
            200,
            json!({"StreamDescriptionSummary": {
                "StreamName": "s", "StreamARN": "arn", "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24,
                "StreamCreationTimestamp": 1, "EnhancedMonitoring": [], "OpenShardCount": 1,
                "RecordDistributionStrategy": "AUTO", "MaxRecordSizeInKiB": 2048,
            }}),
        ),
        "ListShards" => (
            200,
            json!({"Shards": [{
                "ShardId": "shardId-000000000000",
                "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string()},
                "SequenceNumberRange": {"StartingSequenceNumber": "1"},
            }]}),
        ),
        "GetShardIterator" => (200, json!({"ShardIterator": "first"})),
        "PutRecords" => {
            (200, json!({"FailedRecordCount": 0, "Records": [{"SequenceNumber": "1", "ShardId": "s"}]}))
        }
        "GetRecords" => (
            200,
            json!({
                "Records": [{"SequenceNumber": "7", "Data": "YQ==", "ApproximateArrivalTimestamp": 1_800_000_000.123}],
                "NextShardIterator": "second", "MillisBehindLatest": 5,
            }),
        ),
        other => (400, json!({"__type": "ValidationException", "message": other})),
    }
}

#[tokio::test]
async fn records_without_keys_are_read() {
    let stub = Stub::start(stripped).await;
    let backend = open(&stub.config).await;
    let shard = backend.shards(Stream::Input).await.unwrap().remove(0).id;
    let mut reader = backend.reader(Stream::Input, &shard, StartAt::TrimHorizon).await.unwrap();
    let batch = reader.next_batch().await.unwrap();
    assert_eq!((batch.records[0].partition_key.as_str(), &batch.records[0].data[..]), ("", &b"a"[..]));
    assert_eq!(batch.through.unwrap().0, "7@1800000000123");
    assert_eq!((batch.complete_to.as_millis(), batch.behind_ms), (1_800_000_000_123, 5));
}

#[tokio::test]
async fn a_stream_may_allow_larger_records_and_no_larger_ones_are_sent() {
    let stub = Stub::start(stripped).await;
    let backend = open(&stub.config).await;
    let mut writer = backend.writer(Stream::Output).await.unwrap();
    let mut put = async |bytes: usize| {
        let record = logtally::backend::Outgoing {
            partition_key: "k".to_owned(),
            hash_key: None,
            data: vec![0; bytes].into(),
        };
        writer.append(Append { records: vec![record], sources: Vec::new() }).await
    };
    put(2 * 1024 * 1024 - 1).await.unwrap();
    let refused = put(2 * 1024 * 1024).await.unwrap_err();
    insta::assert_snapshot!(refused, @"a record has at most 2097152 bytes with its partition key, not 2097153");
}

#[tokio::test]
async fn the_input_streams_writer_says_that_it_needs_local_state() {
    let kinesis = Kinesis::start().await;
    let Err(error) = open(&kinesis.config).await.writer(Stream::Input).await else { panic!("opened") };
    insta::assert_snapshot!(error, @"no local state: a producer keeps on this machine what it has sent; set state_dir");
}
