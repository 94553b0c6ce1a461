//! Reads one shard of a Kinesis stream, in order, and says how far it is complete. Writes nothing.
//!
//! **Completeness.** Where a read finds nothing and Kinesis says that there is nothing behind it
//! (`MillisBehindLatest` 0), the shard is complete to the time at which was asked; else to the latest arrival read,
//! since a record may lie just behind. Kinesis stamps arrivals by its own clock: what this machine's is ahead of it is
//! what `allowed_lateness` has to bear.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::{
    backend::{
        BackendError, Batch, Loss, Result, SequenceNumber, Shard, ShardId, StartAt, Stream, StreamReader,
        aws::{
            Shared,
            fanout::Push,
            payload::{self, Raw, Unpacked},
            poll::{FIRST_LIMIT, Poll},
            position::{Place, Position},
            records::Cursor,
            shard,
        },
    },
    engine::time::Timestamp,
};

/// How far ahead of retention a reader that began at the oldest record must have got before it can be overtaken: until
/// then it reads what is just about to go, and whoever starts there has no claim to it.
const AHEAD: i64 = 60_000;

/// Reads one shard.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    stream: Stream,
    shard: Shard,
    source: Source,
    /// Behind what was handed out.
    position: Position,
    /// What was read and not handed out yet.
    read: Read,
    /// Retention would take what somebody has a claim to.
    claims: bool,
    warned: bool,
}

/// How records come.
#[derive(Debug)]
enum Source {
    Poll(Poll),
    Push(Box<Push>),
}

/// What one read gave.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) records: Arc<Vec<Raw>>,
    /// How many of them were handed out.
    pub(super) taken: usize,
    /// When was asked.
    pub(super) asked: Timestamp,
    /// How far this was behind the tip, in milliseconds.
    pub(super) behind_ms: u64,
    /// The shard is closed, and this was its end.
    pub(super) end: bool,
}

impl Read {
    /// Notes that so many more were handed out: whoever has them keeps them alive from here on, so that many shards at
    /// rest hold no bytes.
    fn release(&mut self, taken: usize) {
        let first = self.taken;
        self.taken += taken;
        // Unpacking that was cancelled may still look at them: then they go with the next read.
        let records = Arc::get_mut(&mut self.records).and_then(|records| records.get_mut(first..self.taken));
        for record in records.into_iter().flatten() {
            record.data = Bytes::new();
        }
    }
}

impl Reader {
    pub(super) async fn open(
        shared: Arc<Shared>,
        stream: Stream,
        id: ShardId,
        start: StartAt,
    ) -> Result<Self> {
        let found = shard::find(&shared, stream, &id).await?;
        let cursor = Cursor { shared: &shared, stream, shard: &id };
        let claims = start != StartAt::TrimHorizon;
        let position = match start {
            StartAt::TrimHorizon => Position { place: Place::Horizon, complete_to: Timestamp::MIN },
            StartAt::Latest => shard::newest(&cursor).await?,
            StartAt::After(SequenceNumber(text)) => text.parse()?,
        };
        let read =
            Read { records: Arc::default(), taken: 0, asked: Timestamp::MIN, behind_ms: 0, end: false };
        // A position that Kinesis does not know is an error now.
        let source = if shared.settings.fan_out {
            Source::Push(Box::new(Push::open(&cursor, &position.place).await?))
        } else {
            Source::Poll(Poll::open(&cursor, &position.place, FIRST_LIMIT).await?)
        };
        let mut reader = Self { shared, stream, shard: found, source, position, read, claims, warned: false };
        reader.refuse_gone().await?;
        Ok(reader)
    }

    /// Fails if retention has taken what lies behind the position.
    async fn refuse_gone(&mut self) -> Result<()> {
        let name = self.shared.settings.stream(self.stream);
        let summary = self.shared.summaries.of(&self.shared.clients, self.stream, name).await?;
        let horizon = summary.horizon(self.shared.settings.clock.now());
        let Position { complete_to, .. } = self.position;
        self.claims |= complete_to >= horizon.plus_millis(AHEAD);
        if !self.claims || complete_to >= horizon {
            return Ok(());
        }
        let loss = Loss { records: None, bytes: None, arrivals: Some((complete_to, horizon)) };
        Err(BackendError::Gone {
            why: format!(
                "{} of stream {name} no longer holds what follows position {}: {loss} passed retention unread; \
                 --accept-loss goes on with the oldest record kept",
                self.shard.id, self.position
            ),
            loss,
        })
    }

    async fn fetch(&mut self) -> Result<()> {
        let cursor = Cursor { shared: &self.shared, stream: self.stream, shard: &self.shard.id };
        let read = match &mut self.source {
            Source::Poll(poll) => poll.read(&cursor, &self.position).await?,
            Source::Push(push) => push.read(&cursor, &self.position).await?,
        };
        if !self.warned && read.records.iter().any(|record| record.key.is_empty()) {
            self.warned = true;
            tracing::warn!(
                shard = %self.shard.id,
                "stream {} strips partition keys: lines that a producer sends twice are counted twice, and silent \
                 producers go unnoticed; set its record distribution to USER_PARTITION_KEY",
                self.shared.settings.stream(self.stream),
            );
        }
        self.read = read;
        Ok(())
    }

    async fn unpack(&self) -> Result<Unpacked> {
        let (records, taken) = (Arc::clone(&self.read.records), self.read.taken);
        let range = (self.shard.first_hash, self.shard.last_hash);
        let unpack = move || payload::unpack(records.get(taken..).unwrap_or_default(), range);
        let unread = self.read.records.get(taken..).unwrap_or_default();
        if !unread.iter().any(Raw::is_packed) {
            return Ok(unpack());
        }
        spawn_blocking(unpack).await.map_err(|why| BackendError::failed("unpacking records", why))
    }

    fn batch(&mut self, unpacked: Unpacked) -> Batch {
        let Unpacked { records, taken, foreign, cut } = unpacked;
        let shard = &self.shard.id;
        if foreign > 0 {
            tracing::warn!(
                %shard,
                records = foreign,
                "left out user records of aggregates that belong to another shard: after a reshard the Kinesis Producer \
                 Library sends them there again"
            );
        }
        if cut > 0 {
            tracing::warn!(%shard, records = cut, "records unpack to more than 64 MiB: the rest is dropped");
        }
        let handed_out = self.read.records.get(self.read.taken..self.read.taken + taken).unwrap_or_default();
        let arrived = handed_out.iter().map(|record| record.arrival).max();
        if let Some(last) = handed_out.last() {
            self.position.place = Place::Behind(last.sequence_number().to_owned());
        }
        let read = &self.read;
        let at_tip = (read.records.is_empty() && read.behind_ms == 0).then_some(read.asked);
        self.position.complete_to =
            [arrived, at_tip].into_iter().flatten().fold(self.position.complete_to, Timestamp::max);
        self.read.release(taken);
        let Read { behind_ms, end, .. } = self.read;
        let more = self.more();
        Batch {
            records,
            through: self.through(),
            complete_to: self.position.complete_to,
            behind_ms: if more { behind_ms.max(1) } else { behind_ms },
            end_of_shard: end && !more,
        }
    }

    /// In front of the oldest record, before it is known how far the shard is complete, there is no position.
    fn through(&self) -> Option<SequenceNumber> {
        (self.position.complete_to > Timestamp::MIN).then(|| SequenceNumber::from(&self.position))
    }

    fn more(&self) -> bool {
        self.read.taken < self.read.records.len()
    }
}

impl StreamReader for Reader {
    async fn next_batch(&mut self) -> Result<Batch> {
        if !self.more() && !self.read.end {
            self.refuse_gone().await?;
            self.fetch().await?;
        }
        let unpacked = self.unpack().await?;
        Ok(self.batch(unpacked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(data: &'static [u8]) -> Raw {
        let (sequence, arrival) = (SequenceNumber("1@1".to_owned()), Timestamp::from_millis(1));
        Raw { sequence, key: "key".to_owned(), arrival, data: Bytes::from_static(data) }
    }

    #[test]
    fn what_was_handed_out_is_held_no_longer() {
        let records = Arc::new(vec![record(b"one"), record(b"two"), record(b"three")]);
        let mut read = Read { records, taken: 0, asked: Timestamp::MIN, behind_ms: 0, end: false };
        let held = |read: &Read| read.records.iter().map(|record| record.data.clone()).collect::<Vec<_>>();
        read.release(2);
        assert_eq!((held(&read), read.taken), (vec![Bytes::new(), Bytes::new(), Bytes::from("three")], 2));
        let unpacking = Arc::clone(&read.records);
        read.release(1);
        assert_eq!((held(&read)[2].clone(), read.taken), (Bytes::from("three"), 3), "somebody looks at it");
        drop(unpacking);
    }
}
