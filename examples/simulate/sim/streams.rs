//! Writers and readers of streams, with either backend's semantics. Keeps nothing: the world does.

use std::time::Duration;

use logtally::{
    backend::{
        Append, BackendError, Batch, Incoming, Outgoing, Result, SequenceNumber, ShardId, SourceState, Stage,
        StartAt, Stream, StreamReader, StreamWriter,
    },
    engine::{provenance::Node, time::Timestamp},
};
use tokio::time::sleep;

use super::{
    process::{Process, busy, failed},
    rates::Kind,
    shards::Shards,
    table::Item,
    world::{State, word},
};

impl State {
    pub(crate) fn stream(&mut self, stream: Stream) -> &mut Shards {
        match stream {
            Stream::Input => &mut self.input,
            Stream::Output => &mut self.output,
        }
    }

    pub(crate) fn put_all(&mut self, stream: Stream, records: &[Outgoing], arrival: Timestamp) {
        for record in records {
            self.trace.note(format_args!(
                "  {stream:?} takes {} of {} bytes",
                record.partition_key,
                record.data.len()
            ));
            self.stream(stream).put(record, arrival);
        }
    }

    fn put_sources(&mut self, node: usize, sources: &[SourceState]) {
        for SourceState { generation, state } in sources {
            if state.is_empty() {
                self.sources.remove(&(node, *generation));
            } else {
                self.sources.insert((node, *generation), state.clone());
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Writer {
    process: Process,
    stream: Stream,
}

impl Writer {
    pub(crate) const fn new(process: Process, stream: Stream) -> Self {
        Self { process, stream }
    }

    /// One call of `PutRecords`: any of the records may be refused, taken late, or taken though the call fails. Those
    /// that are to be sent again.
    async fn put(&self, records: Vec<Outgoing>) -> Result<Vec<Outgoing>> {
        self.process.pause("PutRecords").await;
        let world = self.process.world();
        let (answer, wait) = {
            let state = &mut *world.lock();
            let arrival = world.now();
            if self.stream == Stream::Output
                && records.iter().any(|row| is_of_another(state, row, &self.process))
            {
                state.count("zombie sends rows");
            }
            let is_lost = state.happens("PutRecords unanswered", |rates| rates.lost + rates.late);
            let has_failed = !is_lost && state.happens("PutRecords failed", |rates| rates.failed);
            let mut again = Vec::new();
            for record in records {
                let refused = if is_lost || has_failed {
                    state.random.below(2) == 0
                } else {
                    state.happens("record refused", |rates| rates.record)
                };
                if is_lost && state.happens("record late", |rates| rates.late * 8) {
                    let (stream, after) =
                        (self.stream, Duration::from_millis(state.random.between(1, 40_000)));
                    let (late, then) = (record.clone(), world.clone());
                    world.later(after, move |state| state.put_all(stream, &[late], then.now()));
                } else if !refused {
                    state.put_all(self.stream, std::slice::from_ref(&record), arrival);
                }
                if is_lost || refused {
                    again.push(record);
                }
            }
            let wait = if again.is_empty() { 0 } else { state.random.below(5_000) };
            (if has_failed { Err(failed("PutRecords")) } else { Ok(again) }, wait)
        };
        sleep(Duration::from_millis(wait)).await;
        self.process.pause("PutRecords answered").await;
        answer
    }

    /// Calls go out side by side, so that their order says nothing.
    async fn put_until_taken(&self, mut records: Vec<Outgoing>) -> Result<()> {
        while !records.is_empty() {
            let taken = {
                let random = &mut self.process.world().lock().random;
                random.shuffle(&mut records);
                1 + random.index(records.len())
            };
            let rest = records.split_off(taken);
            let mut again = self.put(records).await?;
            again.extend(rest);
            records = again;
        }
        Ok(())
    }
}

impl StreamWriter for Writer {
    type Packed = Append;

    fn pack(&self, append: Append) -> impl Future<Output = Result<Append>> + Send + use<> {
        let process = self.process.clone();
        async move {
            process.pause("pack").await;
            Ok(append)
        }
    }

    async fn store(&mut self, packed: Append) -> Result<()> {
        let Append { records, sources } = packed;
        let (node, stream, process) = (self.process.node(), self.stream, self.process.clone());
        match self.process.world().kind {
            Kind::Embedded => {
                let effect = move |state: &mut State| {
                    state.put_all(stream, &records, process.now());
                    state.put_sources(node, &sources);
                };
                self.process.call("append", effect).await
            }
            Kind::Aws => {
                self.put_until_taken(records).await?;
                if sources.is_empty() {
                    return Ok(());
                }
                // They are kept on the node's own disk.
                self.process.pause("store sources").await;
                process.world().lock().put_sources(node, &sources);
                self.process.pause("sources stored").await;
                Ok(())
            }
        }
    }

    fn node(&self) -> Node {
        Node(self.process.node() as u64 + 1)
    }

    async fn sources(&mut self) -> Result<Vec<SourceState>> {
        self.process.pause("read sources").await;
        let node = self.process.node();
        let state = self.process.world().lock();
        let known = state.sources.range((node, 0)..(node + 1, 0));
        Ok(known.map(|(&(_, generation), state)| SourceState { generation, state: state.clone() }).collect())
    }
}

/// Whether a parcel is of a shard that another process holds by now.
fn is_of_another(state: &State, parcel: &Outgoing, process: &Process) -> bool {
    let shard = parcel.partition_key.split('/').nth(2).unwrap_or_default();
    let lease = state.leases.get(&(word(Stage::Analyze), ShardId(shard.to_owned())));
    lease.and_then(Item::owner).is_some_and(|owner| owner != process.name())
}

#[derive(Debug)]
pub(crate) struct Reader {
    process: Process,
    stream: Stream,
    shard: ShardId,
    /// How many records lie before the position.
    taken: usize,
    complete_to: Timestamp,
}

/// A position as it is stored: AWS's says how far the shard was complete as well.
pub(crate) fn position(kind: Kind, taken: usize, complete_to: Timestamp) -> SequenceNumber {
    match kind {
        Kind::Embedded => SequenceNumber(taken.to_string()),
        Kind::Aws => SequenceNumber(format!("{taken}@{}", complete_to.as_millis())),
    }
}

/// What [`position`] wrote.
pub(crate) fn place(position: &SequenceNumber) -> (usize, Timestamp) {
    let (taken, complete_to) = position.0.split_once('@').unwrap_or((&position.0, ""));
    let complete_to = complete_to.parse().map_or(Timestamp::MIN, Timestamp::from_millis);
    (taken.parse().expect("a position that was written here"), complete_to)
}

impl Reader {
    pub(crate) async fn open(
        process: Process,
        stream: Stream,
        shard: ShardId,
        start: StartAt,
    ) -> Result<Self> {
        process.pause("open a shard").await;
        let is_busy = process.world().lock().happens("busy", |rates| rates.busy);
        if is_busy {
            return Err(busy("open a shard"));
        }
        let (taken, complete_to) = match start {
            StartAt::TrimHorizon => (0, Timestamp::MIN),
            StartAt::After(sequence) => place(&sequence),
            StartAt::Latest => return Err(failed("nothing here starts at the tip")),
        };
        Ok(Self { process, stream, shard, taken, complete_to })
    }

    /// Looks once; nothing if there is nothing, and more may come.
    async fn look(&self, asked: Timestamp, is_last: bool) -> Result<Option<(Vec<Incoming>, Batch)>> {
        self.process.pause("read").await;
        let world = self.process.world();
        let state = &mut *world.lock();
        if state.happens("busy", |rates| rates.busy) {
            return Err(busy("read"));
        }
        let most = 1 + state.random.index(usize::try_from(world.plan.batch).unwrap_or(1));
        let is_empty = state.happens("empty read", |rates| rates.empty);
        let kept = state.stream(self.stream).get(&self.shard).ok_or_else(|| missing(&self.shard))?;
        let left = kept.records.get(self.taken..).unwrap_or_default();
        let read = &left[..most.min(left.len())];
        let at_tip = read.len() == left.len();
        if read.is_empty() && !kept.shard.closed && !is_last {
            return Ok(None);
        }
        let (read, at_tip) = if is_empty && !left.is_empty() { (&left[..0], false) } else { (read, at_tip) };
        let (kind, taken) = (world.kind, self.taken + read.len());
        let asked = Some(asked).filter(|_| at_tip && read.is_empty());
        let complete_to =
            read.iter().map(|record| record.arrival).chain(asked).fold(self.complete_to, Timestamp::max);
        let sequence = |at: usize| position(kind, self.taken + at + 1, complete_to);
        let incoming = read.iter().enumerate().map(|(at, record)| Incoming {
            sequence: sequence(at),
            partition_key: record.key.clone(),
            arrival: record.arrival,
            data: record.data.clone(),
        });
        let records: Vec<Incoming> = incoming.collect();
        let is_known = match kind {
            Kind::Embedded => taken > 0,
            Kind::Aws => complete_to > Timestamp::MIN,
        };
        let batch = Batch {
            records: Vec::new(),
            through: is_known.then(|| position(kind, taken, complete_to)),
            complete_to,
            behind_ms: u64::from(!at_tip),
            end_of_shard: kept.shard.closed && at_tip,
        };
        state.complete_to = state.complete_to.max(complete_to);
        if !records.is_empty() || batch.end_of_shard {
            let (name, stream, shard) = (self.process.name(), self.stream, &self.shard);
            state.trace.note(format_args!("{name} reads {stream:?} {shard} to {taken}"));
        }
        Ok(Some((records, batch)))
    }
}

fn missing(shard: &ShardId) -> BackendError {
    BackendError::Unlisted { why: format!("there is no {shard}") }
}

impl StreamReader for Reader {
    async fn next_batch(&mut self) -> Result<Batch> {
        let mut asked = self.process.now();
        let mut looked = self.look(asked, false).await?;
        if looked.is_none() {
            let wait = {
                let mut state = self.process.world().lock();
                let most = if state.is_calm { 20_000 } else { 2_000 };
                state.random.between(50, most)
            };
            sleep(Duration::from_millis(wait)).await;
            asked = self.process.now();
            looked = self.look(asked, true).await?;
        }
        let (records, batch) = looked.ok_or_else(|| missing(&self.shard))?;
        self.taken += records.len();
        self.complete_to = batch.complete_to;
        Ok(Batch { records, ..batch })
    }
}
