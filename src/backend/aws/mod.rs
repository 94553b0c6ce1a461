//! The pipeline on AWS: Kinesis, DynamoDB, S3 and CloudWatch. Keeps nothing on this machine but what a producer has
//! sent of its files.
//!
//! Reading order: `client` and `error` (the services and what they refuse), `position`, `shard`, `reader` with `poll`,
//! `fanout` and `payload`, `stream` with `put` (Kinesis), `leases`, `table`,
//! `cut` and `checkpoint` (DynamoDB, S3), `names`,
//! `call`, `ledger`, `send`, `metrics`, `settle` and `plan` (CloudWatch, and what was sent to it), `reference` (S3),
//! `handed` and `dead_letters` (Lambda), `probe`. Every limit names its source; retries are where `backend::retry` makes
//! them, except for what the SDK does by itself and the records that `put` sends again.

mod call;
mod checkpoint;
mod client;
mod cut;
mod dead_letters;
mod doubt;
mod entries;
mod error;
mod fanout;
pub mod handed;
mod leases;
mod ledger;
mod metrics;
mod names;
mod pace;
mod payload;
mod plan;
mod poll;
mod position;
pub mod probe;
mod put;
mod reader;
mod records;
pub mod reference;
mod send;
mod settle;
mod shard;
mod sift;
mod stored;
mod stream;
mod summary;
mod sums;
mod table;

use std::sync::Arc;

pub use self::{
    checkpoint::Checkpoints,
    client::Clients,
    dead_letters::{DeadLetter, DeadLetters},
    metrics::Metrics,
    plan::{Plan, PlannedCall, PlannedDatum, PlannedDimension},
    reader::Reader,
    reference::{Object, ObjectName},
    settle::{Account, AccountLine, AccountedRequests, Difference, SettledCall, Settlement, Verdict},
    stream::Writer,
};
use self::{position::Position, summary::Summaries};
use crate::{
    backend::{
        Amount, Backend, BackendError, Backlog, Datum, Result, SequenceNumber, Shard, ShardId, Stage,
        StartAt, Stream,
        embedded::{self, Embedded},
    },
    clock::Clock,
    config::{Compression, InDoubt},
    engine::time::{Timestamp, WindowSize},
};

/// How to use the services.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Kinesis stream of lines.
    pub input: String,
    /// The Kinesis stream of rows.
    pub output: String,
    /// The DynamoDB table of leases and cuts.
    pub table: String,
    /// The DynamoDB table of published parcels.
    pub ledger: String,
    /// The S3 bucket for cuts that an item cannot hold.
    pub bucket: Option<String>,
    /// The pipeline's name: part of every lease's key.
    pub pipeline: String,
    /// The metrics' namespace.
    pub namespace: String,
    /// What becomes of calls in doubt.
    pub in_doubt: InDoubt,
    /// The windows' length: the resolution of what is read back from CloudWatch.
    pub window: WindowSize,
    /// How lines travel.
    pub compression: Compression,
    /// Read by enhanced fan-out.
    pub fan_out: bool,
    /// How long a lease lasts that nobody renews, in milliseconds.
    pub lease_ms: u64,
    /// Who this worker is, among those that share the table: random, drawn at the start.
    pub worker: String,
    /// How long a reader waits at the tip before it asks again, in milliseconds. Kinesis takes 5 reads a second and
    /// shard from all consumers together (`GetRecords`).
    pub tip_wait_ms: u64,
    /// Where a producer keeps which bytes of its files it has sent: needed by `produce` alone.
    pub local: Option<embedded::Settings>,
    /// The time of day.
    pub clock: Clock,
}

impl Settings {
    /// The names that `infra/logtally.yaml` gives, leases of 10 s, a read a second at the tip.
    #[must_use]
    pub fn new(worker: impl Into<String>, clock: Clock) -> Self {
        let config = crate::config::Aws::default();
        Self {
            input: config.input_stream,
            output: config.output_stream,
            table: config.table,
            ledger: config.ledger,
            bucket: None,
            pipeline: "default".to_owned(),
            namespace: "Logtally".to_owned(),
            in_doubt: InDoubt::Keep,
            window: WindowSize::FIVE_MINUTES,
            compression: Compression::None,
            fan_out: false,
            lease_ms: 10_000,
            worker: worker.into(),
            tip_wait_ms: 1_000,
            local: None,
            clock,
        }
    }

    fn stream(&self, stream: Stream) -> &str {
        match stream {
            Stream::Input => &self.input,
            Stream::Output => &self.output,
        }
    }
}

/// The backend on AWS. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Aws {
    shared: Arc<Shared>,
}

/// What all ports need.
#[derive(Debug)]
struct Shared {
    clients: Clients,
    settings: Settings,
    summaries: Summaries,
    /// The producer's node and positions.
    local: Option<Embedded>,
}

impl Aws {
    /// The backend with these clients. Asks no service yet; opens the local file where there is one.
    ///
    /// # Errors
    /// What the local file gives.
    pub async fn open(clients: Clients, settings: Settings) -> Result<Self> {
        let local = match &settings.local {
            Some(local) => Some(Embedded::open(local.clone()).await?),
            None => None,
        };
        let summaries = Summaries::default();
        Ok(Self { shared: Arc::new(Shared { clients, settings, summaries, local }) })
    }

    /// Behind `position`, or in front of what arrived at `time` or later: the later of the two.
    ///
    /// # Errors
    /// A position that is another backend's.
    pub fn start_at(position: Option<SequenceNumber>, time: Timestamp) -> Result<StartAt> {
        let known = position.map(|SequenceNumber(text)| text.parse()).transpose()?;
        Ok(StartAt::After(SequenceNumber::from(&Position::later(known, time))))
    }

    /// The queue of this URL.
    #[must_use]
    pub fn dead_letters(&self, queue: String) -> DeadLetters {
        DeadLetters::new(self.shared.clients.sqs.clone(), queue)
    }
}

impl Shared {
    fn local(&self) -> Result<&Embedded> {
        self.local.as_ref().ok_or_else(|| BackendError::Failed {
            what: "no local state: a producer keeps on this machine what it has sent; set state_dir"
                .to_owned(),
            source: None,
        })
    }
}

impl Backend for Aws {
    type Writer = Writer;
    type Reader = Reader;
    type Checkpoints = Checkpoints;
    type Metrics = Metrics;
    type Reference = Object;

    async fn shards(&self, stream: Stream) -> Result<Vec<Shard>> {
        shard::list(&self.shared, stream).await
    }

    async fn writer(&self, stream: Stream) -> Result<Writer> {
        Writer::open(Arc::clone(&self.shared), stream).await
    }

    async fn reader(&self, stream: Stream, shard: &ShardId, start: StartAt) -> Result<Reader> {
        Reader::open(Arc::clone(&self.shared), stream, shard.clone(), start).await
    }

    async fn backlog(
        &self,
        stream: Stream,
        shard: &ShardId,
        after: Option<&SequenceNumber>,
    ) -> Result<Backlog> {
        shard::backlog(&self.shared, stream, shard, after).await
    }

    /// Kinesis says no amounts.
    async fn trimmed(&self, _stream: Stream, _shard: &ShardId) -> Result<Amount> {
        Ok(Amount::default())
    }

    async fn checkpoints(&self, stage: Stage) -> Result<Checkpoints> {
        Checkpoints::open(Arc::clone(&self.shared), stage).await
    }

    async fn metrics(&self) -> Result<Metrics> {
        Metrics::open(Arc::clone(&self.shared)).await
    }

    async fn read_metrics(&self, name: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Datum>> {
        sums::read(&self.shared, name, from, to).await
    }

    async fn reference(&self, location: &str) -> Result<Object> {
        Ok(Object::new(self.shared.clients.s3.clone(), location.parse()?))
    }
}
