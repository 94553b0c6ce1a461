//! `PutRecords` until every record is acknowledged: packs, retries what failed, slows down where the stream asks for
//! it. Checks no record, and keeps no order: Kinesis does not either.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use aws_sdk_kinesis::{Client, primitives::Blob, types::PutRecordsRequestEntry};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    backend::{BackendError, Outgoing, Result, aws::error::Call},
    engine::backoff::Backoff,
};

/// The most records of a call (`PutRecords`).
const MOST_RECORDS: usize = 500;
/// Bytes of a call with the partition keys, but for a record that is larger by itself. Kinesis takes 10 MiB, and 5 MiB
/// until October 2025; as a shard takes 1 MiB a second, larger calls would only fail in larger parts.
const CALL_BYTES: usize = 5 * 1024 * 1024;
/// Calls at the same time, while the stream bears it: with [`CALL_BYTES`] the bound of what is in memory twice.
const CALLS: usize = 4;
/// First and longest pause after records were refused, in milliseconds.
const PAUSES: Backoff = Backoff { base_ms: 100, max_ms: 5_000 };
/// How often a stream that refuses records says so.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// The way into one stream. What it learnt of the stream's patience outlives a call.
#[derive(Debug)]
pub(super) struct Put {
    client: Client,
    stream: Arc<str>,
    /// Calls at the same time: halved when the stream refuses, one more for each call that it takes.
    calls: usize,
    /// Calls that got nowhere, in a row.
    refused: u32,
    /// Not to call before.
    pause: Instant,
    warned: Option<Instant>,
}

/// What became of a call.
struct Outcome {
    sent: usize,
    /// To be sent again, and why.
    failed: Vec<Outgoing>,
    why: Option<String>,
}

impl Put {
    pub(super) fn new(client: Client, stream: &str) -> Self {
        Self { client, stream: stream.into(), calls: CALLS, refused: 0, pause: Instant::now(), warned: None }
    }

    /// Sends all of them, however long the stream takes. Dropped before, it has sent any part.
    pub(super) async fn all(&mut self, mut records: VecDeque<Outgoing>) -> Result<()> {
        let mut calls = JoinSet::new();
        loop {
            while calls.len() < self.calls && !records.is_empty() && Instant::now() >= self.pause {
                let packed = pack(&mut records);
                calls.spawn(send(self.client.clone(), Arc::clone(&self.stream), packed));
            }
            if calls.is_empty() && records.is_empty() {
                return Ok(());
            }
            tokio::select! {
                Some(outcome) = calls.join_next() => {
                    let outcome = outcome.map_err(|why| BackendError::failed("a call of PutRecords ended", why))?;
                    self.learn(outcome?, &mut records);
                }
                () = tokio::time::sleep_until(self.pause), if calls.len() < self.calls && !records.is_empty() => {}
            }
        }
    }

    fn learn(&mut self, outcome: Outcome, records: &mut VecDeque<Outgoing>) {
        let Outcome { sent, failed, why } = outcome;
        let Some(why) = why else {
            self.refused = 0;
            self.calls = (self.calls + 1).min(CALLS);
            return;
        };
        self.calls = (self.calls / 2).max(1);
        self.refused = if sent > 0 { 0 } else { self.refused.saturating_add(1) };
        let delay = PAUSES.delay(self.refused, getrandom::u64().unwrap_or(u64::MAX / 2));
        self.pause = Instant::now() + delay;
        self.warn(failed.len(), &why);
        for record in failed.into_iter().rev() {
            records.push_front(record);
        }
    }

    fn warn(&mut self, records: usize, why: &str) {
        if self.warned.is_some_and(|last| last.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned = Some(Instant::now());
        tracing::warn!(
            records,
            "stream {} takes less than is sent: waiting, and sending again ({why}); add shards if it never catches up",
            self.stream
        );
    }
}

/// Takes from the front what one call carries: at least one record.
fn pack(records: &mut VecDeque<Outgoing>) -> Vec<Outgoing> {
    let mut bytes = 0;
    let mut fits = 0;
    for record in records.iter().take(MOST_RECORDS) {
        bytes += record.data.len() + record.partition_key.len();
        if fits > 0 && bytes > CALL_BYTES {
            break;
        }
        fits += 1;
    }
    records.drain(..fits).collect()
}

async fn send(client: Client, stream: Arc<str>, records: Vec<Outgoing>) -> Result<Outcome> {
    let call = Call { action: "kinesis:PutRecords", kind: "stream", name: &stream };
    let entries = records.iter().map(entry).collect::<Result<Vec<_>>>()?;
    match client.put_records().stream_name(&*stream).set_records(Some(entries)).send().await {
        Ok(answer) => {
            let codes = answer.records.into_iter().map(|entry| entry.error_code);
            Ok(outcome(records, codes))
        }
        Err(error) => match call.fault(error) {
            BackendError::Busy { why } => Ok(Outcome { sent: 0, failed: records, why: Some(why) }),
            fault => Err(fault),
        },
    }
}

fn entry(record: &Outgoing) -> Result<PutRecordsRequestEntry> {
    let entry = PutRecordsRequestEntry::builder()
        .data(Blob::new(&record.data[..]))
        .partition_key(&record.partition_key)
        .set_explicit_hash_key(record.hash_key.map(|hash| hash.to_string()));
    entry.build().map_err(|why| BackendError::failed("a record for PutRecords", why))
}

/// The answer has an entry for each record, in order (`PutRecords`); one without is to be sent again.
fn outcome(records: Vec<Outgoing>, codes: impl Iterator<Item = Option<String>>) -> Outcome {
    let mut codes = codes.fuse();
    let mut outcome = Outcome { sent: 0, failed: Vec::new(), why: None };
    for record in records {
        match codes.next() {
            Some(None) => outcome.sent += 1,
            code => {
                outcome.failed.push(record);
                outcome.why = code.flatten().or(outcome.why).or_else(|| Some("no answer".to_owned()));
            }
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> Outgoing {
        Outgoing { partition_key: "key".to_owned(), hash_key: None, data: vec![0; bytes].into() }
    }

    #[test]
    fn calls_are_packed_to_their_limits() {
        let packed = |sizes: &[usize]| {
            let mut records: VecDeque<Outgoing> = sizes.iter().map(|&size| record(size)).collect();
            std::iter::from_fn(|| Some(pack(&mut records).len()).filter(|&count| count > 0))
                .collect::<Vec<usize>>()
        };
        assert_eq!(packed(&[1; 1_201]), [500, 500, 201]);
        let mebibyte = 1024 * 1024 - 3;
        assert_eq!(packed(&[mebibyte; 11]), [5, 5, 1]);
        assert_eq!(packed(&[mebibyte + 1; 11]), [4, 4, 3]);
        assert_eq!(packed(&[9 * mebibyte, 9 * mebibyte, 5]), [1, 1, 1], "a large one goes by itself");
        assert!(packed(&[]).is_empty());
    }

    #[test]
    fn what_failed_or_was_not_answered_is_sent_again() {
        let code = |text: &str| Some(text.to_owned());
        let codes = [None, code("InternalFailure"), None, code("ProvisionedThroughputExceededException")];
        let sizes =
            |outcome: &Outcome| outcome.failed.iter().map(|record| record.data.len()).collect::<Vec<usize>>();
        let records = || (0..5).map(record).collect::<Vec<_>>();
        let partly = outcome(records(), codes.into_iter());
        assert_eq!((partly.sent, sizes(&partly)), (2, vec![1, 3, 4]));
        assert_eq!(partly.why.as_deref(), Some("ProvisionedThroughputExceededException"));
        let fully = outcome(records(), [None, None, None, None, None].into_iter());
        assert_eq!((fully.sent, fully.why), (5, None));
        let nothing = outcome(records(), [].into_iter());
        assert_eq!((nothing.sent, nothing.why.as_deref()), (0, Some("no answer")));
    }
}
