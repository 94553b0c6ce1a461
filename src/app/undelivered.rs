//! What `deliver` has before it in the output stream on AWS. Takes no lease, saves no position, and publishes nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    app::Error,
    backend::{
        Backend, BackendError, Incoming, Parcel, SequenceNumber, ShardId, Stage, StartAt, StoredLease,
        Stream,
        aws::{Aws, Reader},
        retry::next_batch,
    },
    deliver,
    engine::time::Timestamp,
    stop::{Phase, Stopper, channel},
};

/// Reads every shard to its tip, each parcel once.
#[derive(Debug)]
pub(super) struct Undelivered {
    aws: Aws,
    left: VecDeque<Begin>,
    reading: Option<(ShardId, Reader)>,
    draining: Stopper,
    /// The parcels that were read: the ledger does not know them yet.
    pub(super) known: BTreeSet<String>,
    /// How many of them were read again.
    pub(super) repeated: usize,
}

/// Where a shard is begun.
#[derive(Debug)]
struct Begin {
    shard: ShardId,
    start: StartAt,
    /// There `deliver` stopped.
    goes_on: bool,
}

impl Undelivered {
    /// Begins in each shard of `stream` where `deliver` stopped, or with what arrived at `since`, if that is later.
    pub(super) async fn open(
        aws: &Aws,
        (leases, stream): (&[StoredLease], &str),
        since: Option<Timestamp>,
    ) -> Result<Self, Error> {
        let positions = positions(leases, stream);
        let mut left = VecDeque::new();
        for shard in aws.shards(Stream::Output).await? {
            let position = match positions.get(&shard.id) {
                Some(None) => continue,
                found => found.cloned().flatten(),
            };
            let stopped = position.clone().map_or(StartAt::TrimHorizon, StartAt::After);
            let start = since.map_or(Ok(stopped.clone()), |since| Aws::start_at(position, since))?;
            left.push_back(Begin { shard: shard.id, goes_on: start == stopped, start });
        }
        let (draining, _) = channel();
        draining.set(Phase::Drain);
        Ok(Self { aws: aws.clone(), left, reading: None, draining, known: BTreeSet::new(), repeated: 0 })
    }

    /// The parcels of the next batch, as `deliver` is handed them; nothing once all was read.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Parcel>>, Error> {
        loop {
            let (shard, mut reader) = match self.reading.take() {
                Some(reading) => reading,
                None => {
                    let Some(begin) = self.left.pop_front() else { return Ok(None) };
                    let reader = Box::pin(self.begin(&begin)).await?;
                    (begin.shard, reader)
                }
            };
            let mut stop = self.draining.subscribe();
            let read = Box::pin(next_batch(&mut reader, &mut stop, "reading the output stream")).await?;
            let Some((batch, drained)) = read else { return Ok(None) };
            let parcels = self.parcels(&shard, batch.records);
            if !drained && !batch.end_of_shard {
                self.reading = Some((shard, reader));
            }
            if !parcels.is_empty() {
                return Ok(Some(parcels));
            }
        }
    }

    async fn begin(&self, Begin { shard, start, goes_on }: &Begin) -> Result<Reader, Error> {
        match self.aws.reader(Stream::Output, shard, start.clone()).await {
            Err(BackendError::Gone { loss, .. }) => {
                if *goes_on {
                    tracing::warn!(%shard, "rows were past retention before delivery: {loss} are lost");
                }
                Ok(self.aws.reader(Stream::Output, shard, StartAt::TrimHorizon).await?)
            }
            opened => Ok(opened?),
        }
    }

    fn parcels(&mut self, shard: &ShardId, records: Vec<Incoming>) -> Vec<Parcel> {
        let mut parcels = Vec::with_capacity(records.len());
        for record in records {
            let (parcel, foreign) = deliver::parcel(record.partition_key, &record.data);
            if foreign > 0 {
                tracing::warn!(%shard, lines = foreign, "lines of the output stream are no rows");
            }
            if self.known.insert(parcel.id.clone()) {
                parcels.push(parcel);
            } else {
                self.repeated += 1;
            }
        }
        parcels
    }
}

/// Where `deliver` stopped in each shard that it knows; nowhere in those that it read to their end.
fn positions(leases: &[StoredLease], stream: &str) -> BTreeMap<ShardId, Option<SequenceNumber>> {
    let of_deliver = leases.iter().filter(|lease| lease.stage == Stage::Deliver && lease.stream == stream);
    let position = |lease: &StoredLease| {
        let checkpoint = &lease.checkpoint.as_ref()?.checkpoint;
        let position = if checkpoint.ended { None } else { Some(checkpoint.position.clone()?) };
        Some((lease.shard.clone(), position))
    };
    of_deliver.filter_map(position).collect()
}
