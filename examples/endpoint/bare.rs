//! What reading or filling a stream costs with the SDK alone: one loop, one thread, one call after the other. Waits for
//! nothing, and does nothing with what it reads.

use std::io;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kinesis::{
    Client,
    primitives::Blob,
    types::{PutRecordsRequestEntry, ShardIteratorType},
};

use crate::{STREAM, log::Pieces};

/// What one answer is to hold, and what one call carries, in bytes: as `analyze` and `produce` have it.
const CALL_BYTES: usize = 2 * 1024 * 1024;
/// Records asked for before it is known how large they are, as `analyze` does.
const FIRST_LIMIT: usize = 5;

/// What was read or sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) calls: u64,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// The SDK as its makers set it up, at this endpoint, by plain HTTP.
async fn client(endpoint: &str) -> Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config: SdkConfig =
        aws_config::defaults(BehaviorVersion::latest()).http_client(http).endpoint_url(endpoint).load().await;
    Client::new(&config)
}

/// Reads every shard to its tip, one after the other.
pub(crate) async fn discard(endpoint: &str, unpack: bool) -> anyhow::Result<Done> {
    let client = client(endpoint).await;
    let mut done = Done::default();
    for shard in client.list_shards().stream_name(STREAM).send().await?.shards() {
        let ask = client.get_shard_iterator().stream_name(STREAM).shard_id(shard.shard_id());
        let ask = ask.shard_iterator_type(ShardIteratorType::TrimHorizon);
        let (mut iterator, mut limit) = (ask.send().await?.shard_iterator, FIRST_LIMIT);
        while let Some(next) = iterator.take() {
            let answer =
                client.get_records().shard_iterator(next).limit(i32::try_from(limit)?).send().await?;
            done.calls += 1;
            let bytes: usize = answer.records().iter().map(|record| record.data().as_ref().len()).sum();
            if let Some(records) = (CALL_BYTES * answer.records().len()).checked_div(bytes) {
                limit = records.max(1);
                iterator.clone_from(&answer.next_shard_iterator);
            }
            for record in answer.records().iter().filter(|_| unpack) {
                zstd::stream::copy_decode(record.data().as_ref(), io::sink())?;
            }
            done.records += answer.records().len();
            done.bytes += bytes;
        }
    }
    Ok(done)
}

/// Sends all pieces.
pub(crate) async fn send(endpoint: &str, pieces: &mut Pieces) -> anyhow::Result<Done> {
    let client = client(endpoint).await;
    let (mut done, mut entries, mut bytes) = (Done::default(), Vec::new(), 0);
    loop {
        let piece = pieces.next()?;
        let is_last = piece.is_none();
        if let Some(lines) = piece {
            bytes += lines.data.len();
            let entry = PutRecordsRequestEntry::builder().partition_key(lines.key());
            let hash_key = (u128::MAX / 3).to_string();
            entries.push(entry.explicit_hash_key(hash_key).data(Blob::new(lines.data)).build()?);
        }
        if !entries.is_empty() && (is_last || bytes >= CALL_BYTES - 4 * 1024) {
            done.calls += 1;
            done.records += entries.len();
            done.bytes += std::mem::take(&mut bytes);
            let entries = std::mem::take(&mut entries);
            let answer = client.put_records().stream_name(STREAM).set_records(Some(entries)).send().await?;
            anyhow::ensure!(answer.failed_record_count() == Some(0), "{answer:?}");
        }
        if is_last {
            return Ok(done);
        }
    }
}
