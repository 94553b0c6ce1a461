//! The two calls that read a shard: `GetShardIterator` and `GetRecords`. Keeps no position and no pace.

use std::error::Error;

use aws_sdk_kinesis::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_records::GetRecordsOutput,
    types::{Record, ShardIteratorType},
};
use aws_smithy_types::DateTime;
use bytes::Bytes;

use crate::{
    backend::{
        BackendError, Result, ShardId, Stream,
        aws::{Shared, error::Call, position::Place, shard, sift::Payloads},
    },
    engine::time::Timestamp,
};

/// The most records that a call gives (`GetRecords`).
pub(super) const MOST_AT_ONCE: i32 = 10_000;

/// One shard, for calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) shared: &'a Shared,
    pub(super) stream: Stream,
    pub(super) shard: &'a ShardId,
}

impl Cursor<'_> {
    /// An iterator that begins at `place`; Kinesis forgets it after 5 minutes.
    pub(super) async fn iterator(&self, place: &Place) -> Result<String> {
        let name = self.shared.settings.stream(self.stream);
        let ask = self.shared.clients.kinesis.get_shard_iterator().stream_name(name).shard_id(&self.shard.0);
        let ask = match place {
            Place::Horizon => ask.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Place::Time(time) => ask
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(time.as_millis())),
            Place::Behind(sequence) => ask
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence),
        };
        let call = Call { action: "kinesis:GetShardIterator", kind: "stream", name };
        let answer = ask.send().await.map_err(|error| match (error.code(), place) {
            (Some("InvalidArgumentException"), Place::Behind(_)) => BackendError::Refused {
                what: format!(
                    "{} of stream {name} does not know the position of the checkpoint: the stream was deleted and made \
                     anew; start with --from TRIM_HORIZON ({})",
                    self.shard,
                    error.message().unwrap_or_default()
                ),
                source: None,
            },
            (Some("InvalidArgumentException"), Place::Time(_)) => BackendError::Refused {
                what: format!(
                    "{call}: this machine's clock is ahead of Kinesis: let it be set by NTP ({})",
                    error.message().unwrap_or_default()
                ),
                source: None,
            },
            _ => self.fault(call, error),
        })?;
        answer.shard_iterator.ok_or_else(|| BackendError::Busy { why: format!("{call}: no iterator") })
    }

    /// At most `limit` records from `iterator` on, probably of `usual` bytes each, their payloads apart; `None` if the
    /// iterator has expired.
    pub(super) async fn records(&self, iterator: String, limit: i32, usual: usize) -> Result<Option<Answer>> {
        let call = Call {
            action: "kinesis:GetRecords",
            kind: "stream",
            name: self.shared.settings.stream(self.stream),
        };
        let payloads = Payloads::new(usual);
        let ask = self.shared.clients.kinesis.get_records().shard_iterator(iterator).limit(limit);
        match ask.customize().interceptor(payloads.clone()).send().await {
            Ok(answer) => {
                let payloads = payloads.take();
                if payloads.len() != answer.records.len() {
                    return Err(BackendError::Busy {
                        why: format!("{call}: an answer with records that hold nothing"),
                    });
                }
                Ok(Some(Answer { answer, payloads }))
            }
            Err(error) if error.code() == Some("ExpiredIteratorException") => Ok(None),
            Err(error) => Err(self.fault(call, error)),
        }
    }

    /// What a call for the shard fails with: what does not exist may be the shard alone.
    pub(super) fn fault<E>(&self, call: Call<'_>, error: SdkError<E, HttpResponse>) -> BackendError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let is_shard = error.message().is_some_and(|message| message.contains(&self.shard.0));
        match error.code() {
            Some("ResourceNotFoundException") if is_shard => shard::unlisted(call.name, self.shard),
            _ => call.fault(error),
        }
    }
}

/// What `GetRecords` said: the payload of each record stands apart from it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) answer: GetRecordsOutput,
    pub(super) payloads: Vec<Bytes>,
}

/// When the stream took the record; the epoch if it does not say.
pub(super) fn arrival(record: &Record) -> Timestamp {
    // Milliseconds travel as a fraction of seconds that binary numbers only come near to.
    let rounded = |nanos: i128| i64::try_from((nanos + 500_000).div_euclid(1_000_000)).ok();
    let stamp = record.approximate_arrival_timestamp.and_then(|stamp| rounded(stamp.as_nanos()));
    Timestamp::from_millis(stamp.unwrap_or(0))
}
