//! Kinesis over HTTP, as far as one reader and one writer need it: no limits, no signatures, no time. The answers' records
//! are rendered before anybody asks.

use std::{
    io::{self, Write},
    sync::Arc,
};

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::DefaultBodyLimit,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::spawn_blocking};

use crate::STREAM;

/// Answers until standard input ends.
pub(crate) async fn until_closed(shards: Vec<Vec<String>>) -> anyhow::Result<()> {
    let shards = Arc::new(shards);
    let answer = move |headers: HeaderMap, body: Bytes| {
        let shards = Arc::clone(&shards);
        async move { answer(&shards, &headers, &body) }
    };
    let app = Router::new().fallback(answer).layer(DefaultBodyLimit::disable());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "http://{}", listener.local_addr()?)?;
    let closed = spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    tokio::select! {
        served = axum::serve(listener, app) => Ok(served?),
        closed = closed => Ok(closed?.map(drop)?),
    }
}

fn answer(shards: &[Vec<String>], headers: &HeaderMap, body: &Bytes) -> Response {
    let operation =
        headers.get("x-amz-target").and_then(|target| target.to_str().ok()?.split('.').next_back());
    let said = match operation {
        // Its body is large, and only its length matters.
        Some("PutRecords") => Ok(taken(body)),
        Some(operation) => asked(shards, operation, body),
        None => Err(anyhow::anyhow!("no X-Amz-Target")),
    };
    let (status, text) = match said {
        Ok(text) => (StatusCode::OK, text),
        Err(why) => {
            let refusal = json!({"__type": "InvalidArgumentException", "message": why.to_string()});
            (StatusCode::BAD_REQUEST, refusal.to_string())
        }
    };
    (status, [(CONTENT_TYPE, "application/x-amz-json-1.1")], text).into_response()
}

fn asked(shards: &[Vec<String>], operation: &str, body: &[u8]) -> anyhow::Result<String> {
    let body: Value = serde_json::from_slice(body)?;
    match operation {
        "DescribeStreamSummary" => Ok(summary(&body, shards.len()).to_string()),
        "ListShards" => Ok(list(if body["StreamName"] == STREAM { shards.len() } else { 1 }).to_string()),
        "GetShardIterator" => iterator(&body),
        "GetRecords" => records(shards, &body),
        _ => Err(anyhow::anyhow!("{operation} is not played")),
    }
}

fn summary(body: &Value, shards: usize) -> Value {
    json!({"StreamDescriptionSummary": {
        "StreamName": body["StreamName"], "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/any",
        "StreamStatus": "ACTIVE", "RetentionPeriodHours": 8_760, "StreamCreationTimestamp": 1,
        "EnhancedMonitoring": [], "OpenShardCount": shards,
    }})
}

/// As many shards, of one hash space.
fn list(shards: usize) -> Value {
    let size = u128::MAX / shards as u128;
    let shard = |number: usize| {
        let first = number as u128 * size;
        let last = if number + 1 == shards { u128::MAX } else { first + size - 1 };
        json!({
            "ShardId": format!("shardId-{number:012}"),
            "HashKeyRange": {"StartingHashKey": first.to_string(), "EndingHashKey": last.to_string()},
            "SequenceNumberRange": {"StartingSequenceNumber": "1"},
        })
    };
    json!({"Shards": (0..shards).map(shard).collect::<Vec<_>>()})
}

/// An iterator is the shard's number and that of the next record.
fn iterator(body: &Value) -> anyhow::Result<String> {
    let shard = body["ShardId"].as_str().and_then(|id| id.split('-').next_back()).context("no ShardId")?;
    let next = match body["ShardIteratorType"].as_str() {
        Some("TRIM_HORIZON") => 0,
        Some("AFTER_SEQUENCE_NUMBER") => {
            body["StartingSequenceNumber"].as_str().context("no StartingSequenceNumber")?.parse::<usize>()?
        }
        other => anyhow::bail!("an iterator of type {other:?} is not played"),
    };
    Ok(json!({"ShardIterator": format!("{}:{next}", shard.parse::<usize>()?)}).to_string())
}

fn records(shards: &[Vec<String>], body: &Value) -> anyhow::Result<String> {
    let iterator = body["ShardIterator"].as_str().and_then(|iterator| iterator.split_once(':'));
    let (shard, next) = iterator.context("no ShardIterator")?;
    let (shard, next): (usize, usize) = (shard.parse()?, next.parse()?);
    let limit = usize::try_from(body["Limit"].as_u64().unwrap_or(10_000))?;
    let left = shards.get(shard).and_then(|records| records.get(next..)).context("no such place")?;
    let given = &left[..limit.min(left.len())];
    let behind_ms = (left.len() - given.len()) * 1_000;
    Ok(format!(
        "{{\"NextShardIterator\":\"{shard}:{}\",\"MillisBehindLatest\":{behind_ms},\"Records\":[{}]}}",
        next + given.len(),
        given.join(",")
    ))
}

/// Every record of a call is taken. Each has a partition key, and base64 holds no such word.
fn taken(body: &[u8]) -> String {
    let records = memchr::memmem::find_iter(body, b"\"PartitionKey\"").count();
    let entry = "{\"SequenceNumber\":\"1\",\"ShardId\":\"shardId-000000000000\"}";
    format!("{{\"FailedRecordCount\":0,\"Records\":[{}]}}", vec![entry; records].join(","))
}
