//! What Kinesis says of a stream as a whole: retention, record size, ARN. Remembers it for a while; lists no shards.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_kinesis::types::RecordDistributionStrategy;
use tokio::time::Instant;

use crate::{
    backend::{
        BackendError, Result, Stream,
        aws::{Clients, error::Call},
        record::MAX_RECORD,
    },
    engine::time::Timestamp,
};

/// How long an answer is good for: retention and record size change by hand only. Kinesis answers 20 calls a second
/// and account (`DescribeStreamSummary`).
const FRESH: Duration = Duration::from_mins(5);

/// What is said of one stream.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) arn: String,
    /// How long records are kept, in milliseconds.
    pub(super) retention_ms: i64,
    /// The largest record with its partition key, in bytes.
    pub(super) max_record: usize,
    /// Whether it places records by their keys, and gives the keys back.
    pub(super) keeps_keys: bool,
}

impl Summary {
    /// What arrived before is past retention.
    pub(super) const fn horizon(&self, now: Timestamp) -> Timestamp {
        now.plus_millis(-self.retention_ms)
    }
}

/// What was said lately, of either stream.
#[derive(Debug, Default)]
pub(super) struct Summaries(Mutex<[Option<(Instant, Summary)>; 2]>);

impl Summaries {
    /// What is said of `stream`, called `name`.
    pub(super) async fn of(&self, clients: &Clients, stream: Stream, name: &str) -> Result<Summary> {
        let known = self.known(stream);
        if let Some((since, known)) = &known
            && since.elapsed() < FRESH
        {
            return Ok(known.clone());
        }
        let asked = clients.kinesis.describe_stream_summary().stream_name(name).send().await;
        let call = Call { action: "kinesis:DescribeStreamSummary", kind: "stream", name };
        let said = match (asked.map_err(|error| call.fault(error)), known) {
            (Ok(said), _) => said.stream_description_summary,
            // What was said before hardly ever changes, and nobody is to wait for it.
            (Err(BackendError::Busy { .. }), Some((_, known))) => return Ok(known),
            (Err(error), _) => return Err(error),
        };
        let kib = said.as_ref().and_then(|said| said.max_record_size_in_kib);
        let strategy = said.as_ref().and_then(|said| said.record_distribution_strategy.as_ref());
        let summary = Summary {
            // 24 hours are the least that there are (`CreateStream`).
            retention_ms: i64::from(said.as_ref().map_or(24, |said| said.retention_period_hours)) * 3_600_000,
            max_record: kib
                .and_then(|kib| usize::try_from(kib).ok())
                .map_or(MAX_RECORD, |kib| (kib * 1024).max(MAX_RECORD)),
            keeps_keys: strategy != Some(&RecordDistributionStrategy::Auto),
            arn: said.map(|said| said.stream_arn).unwrap_or_default(),
        };
        self.remember(stream, summary.clone());
        Ok(summary)
    }

    fn known(&self, stream: Stream) -> Option<(Instant, Summary)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = match stream {
            Stream::Input => known.first(),
            Stream::Output => known.last(),
        };
        of?.clone()
    }

    fn remember(&self, stream: Stream, summary: Summary) {
        let [input, output] = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match stream {
            Stream::Input => input,
            Stream::Output => output,
        };
        if entry.is_none() && !summary.keeps_keys {
            tracing::warn!(
                "{} strips partition keys: what is sent twice is counted twice, and silent producers go unnoticed; set \
                 its record distribution to USER_PARTITION_KEY",
                summary.arn
            );
        }
        *entry = Some((Instant::now(), summary));
    }
}
