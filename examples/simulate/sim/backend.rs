//! The openers of the ports. Keeps nothing.

use bytes::Bytes;
use logtally::{
    backend::{
        Backend, Backlog, Datum, ReferenceStore, Result, SequenceNumber, Shard, ShardId, Sink, Stage,
        StartAt, Stream, Version,
    },
    engine::time::Timestamp,
};

use super::{
    checkpoints::Checkpoints,
    metrics::Metrics,
    process::{Process, failed},
    rates::Kind,
    streams::{Reader, Writer, place, position},
    world::State,
};

/// The ports as one process has them.
#[derive(Clone, Debug)]
pub(crate) struct Ports(pub(crate) Process);

impl Backend for Ports {
    type Writer = Writer;
    type Reader = Reader;
    type Checkpoints = Checkpoints;
    type Metrics = Metrics;
    type Reference = NoReference;

    async fn shards(&self, stream: Stream) -> Result<Vec<Shard>> {
        let is_aws = self.0.world().kind == Kind::Aws;
        let list = move |state: &mut State| {
            let now = state.trace.now();
            let (mut shards, new) = state.stream(stream).list(now);
            if is_aws && new > 0 && state.random.chance(state.rates.empty) {
                // Of a split perhaps one child.
                shards.truncate(shards.len() - 1 - state.random.index(new));
                state.count("stale list");
            }
            shards
        };
        self.0.call("list shards", list).await
    }

    async fn writer(&self, stream: Stream) -> Result<Writer> {
        self.0.call("open a stream", |_| ()).await?;
        Ok(Writer::new(self.0.clone(), stream))
    }

    async fn reader(&self, stream: Stream, shard: &ShardId, start: StartAt) -> Result<Reader> {
        Reader::open(self.0.clone(), stream, shard.clone(), start).await
    }

    async fn backlog(
        &self,
        stream: Stream,
        shard: &ShardId,
        after: Option<&SequenceNumber>,
    ) -> Result<Backlog> {
        let (shard, taken) = (shard.clone(), after.map_or(0, |after| place(after).0));
        let kind = self.0.world().kind;
        let look = move |state: &mut State| {
            let kept = state.stream(stream).get(&shard);
            kept.map(|kept| kept.backlog(taken, |taken, arrival| position(kind, taken, arrival)))
        };
        Ok(self.0.call("look at a shard", look).await?.unwrap_or_default())
    }

    async fn checkpoints(&self, stage: Stage) -> Result<Checkpoints> {
        Checkpoints::open(self.0.clone(), stage).await
    }

    async fn metrics(&self) -> Result<Metrics> {
        self.0.call("open the metrics", |_| ()).await?;
        Ok(Metrics::new(self.0.clone()))
    }

    async fn read_metrics(&self, name: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Datum>> {
        let state = self.0.world().lock();
        let wanted = state
            .metrics
            .iter()
            .filter(|((series, timestamp), _)| series.name == name && (from..to).contains(timestamp));
        let datum = |((series, timestamp), value): (&(_, _), &f64)| Datum {
            series: Clone::clone(series),
            timestamp: *timestamp,
            value: *value,
        };
        Ok(wanted.map(datum).collect())
    }

    async fn reference(&self, _location: &str) -> Result<NoReference> {
        Ok(NoReference)
    }
}

/// No stage asks for reference data: it is given to them.
#[derive(Debug)]
pub(crate) struct NoReference;

impl ReferenceStore for NoReference {
    async fn fetch<S: Sink>(&mut self, _known: Option<&Version>, _sink: S) -> Result<Option<(Version, S)>> {
        Err(failed("reference data"))
    }

    async fn replace(&mut self, _expected: Option<&Version>, _content: Bytes) -> Result<()> {
        Err(failed("reference data"))
    }
}
