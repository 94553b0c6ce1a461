//! Reads a shard by asking for it: `GetRecords`, at the pace that a shard bears. Judges no position.

use std::{sync::Arc, time::Duration};

use aws_sdk_kinesis::types::Record;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::{
    backend::{
        BackendError, Result, SequenceNumber,
        aws::{
            pace::Pace,
            payload::Raw,
            position::{Place, Position},
            reader::Read,
            records::{self, Answer, Cursor, arrival},
        },
    },
    engine::time::Timestamp,
};

/// What one call is to give, in bytes: a second's worth of a shard. A call may give 10 MiB, and then the next one has
/// to wait for 5 s (`GetRecords`).
const CALL_BYTES: usize = 2 * 1024 * 1024;
/// Records asked for as long as nobody knows how large they are: a few, as many shards may begin at once.
pub(super) const FIRST_LIMIT: i32 = 5;
/// After a call that was too much for the shard there is none for a second (`GetRecords`).
const THROTTLED: Duration = Duration::from_secs(1);

/// Where the asking stands.
#[derive(Debug)]
pub(super) struct Poll {
    iterator: Option<String>,
    pace: Pace,
    limit: i32,
    /// Bytes of the largest record of the last answer.
    usual: usize,
}

impl Poll {
    /// Begins at `place`, with a call for at most `limit` records; fails for a position that the stream does not know.
    pub(super) async fn open(cursor: &Cursor<'_>, place: &Place, limit: i32) -> Result<Self> {
        let iterator = Some(cursor.iterator(place).await?);
        Ok(Self { iterator, pace: Pace::default(), limit, usual: 0 })
    }

    /// What follows `position`; waits for the shard to bear a call. Cancel-safe.
    pub(super) async fn read(&mut self, cursor: &Cursor<'_>, position: &Position) -> Result<Read> {
        loop {
            sleep_until(self.pace.due(Instant::now())).await;
            let iterator = match &self.iterator {
                Some(iterator) => iterator.clone(),
                None => self.iterator.insert(cursor.iterator(&position.place).await?).clone(),
            };
            let (asked, began) = (cursor.shared.settings.clock.now(), Instant::now());
            self.pace.called(began);
            let asking = cursor.records(iterator, self.limit, self.usual);
            let Answer { answer, payloads } = match asking.await {
                Ok(Some(answer)) => answer,
                Ok(None) => {
                    self.iterator = None;
                    continue;
                }
                Err(busy @ BackendError::Busy { .. }) => {
                    self.pace.pause(Instant::now(), THROTTLED);
                    return Err(busy);
                }
                Err(error) => return Err(error),
            };
            let end = answer.next_shard_iterator.is_none();
            self.iterator = answer.next_shard_iterator;
            let records = raw(answer.records.into_iter().zip(payloads), position.complete_to);
            let bytes = records.iter().map(|record| record.data.len()).sum();
            self.limit = limit(records.len(), bytes).unwrap_or(self.limit);
            self.usual = records.iter().map(|record| record.data.len()).max().unwrap_or(self.usual);
            self.pace.got(began, bytes);
            let behind_ms = answer.millis_behind_latest.and_then(|millis| u64::try_from(millis).ok());
            let behind_ms = behind_ms.unwrap_or(0);
            if records.is_empty() && behind_ms == 0 {
                self.pace.pause(began, Duration::from_millis(cursor.shared.settings.tip_wait_ms));
            }
            return Ok(Read { records: Arc::new(records), taken: 0, asked, behind_ms, end });
        }
    }
}

/// Records with their payloads as they came, each with the position behind it.
pub(super) fn raw(
    records: impl IntoIterator<Item = (Record, Bytes)>,
    mut complete_to: Timestamp,
) -> Vec<Raw> {
    let raw = |(record, data): (Record, Bytes)| {
        let arrival = arrival(&record);
        complete_to = complete_to.max(arrival);
        let position = Position { place: Place::Behind(record.sequence_number), complete_to };
        Raw {
            sequence: SequenceNumber::from(&position),
            key: record.partition_key.unwrap_or_default(),
            arrival,
            data,
        }
    };
    records.into_iter().map(raw).collect()
}

/// How many records like these come to [`CALL_BYTES`].
fn limit(records: usize, bytes: usize) -> Option<i32> {
    let limit = CALL_BYTES.checked_mul(records)?.checked_div(bytes.max(1))?;
    (records > 0).then(|| i32::try_from(limit).unwrap_or(i32::MAX).clamp(1, records::MOST_AT_ONCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_asks_for_a_seconds_worth() {
        assert_eq!(limit(0, 0), None);
        assert_eq!(limit(4, 4 * 1024 * 1024), Some(2));
        assert_eq!(limit(1, 10 * 1024 * 1024), Some(1));
        assert_eq!(limit(500, 100_000), Some(10_000));
        assert_eq!(limit(1_000, 1_048_576), Some(2_000));
        assert_eq!(limit(3, 0), Some(10_000));
    }
}
