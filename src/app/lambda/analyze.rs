//! Lines of a batch to rows: from the shard's cut to the next, however often Lambda hands a batch over.
//!
//! The final call of a tumbling window says that every record which arrived before its end was handed over: that is how
//! far the shard is complete, also where nothing arrives. The cut is in DynamoDB as a worker's is; each call takes the
//! shard's lease, so that a call which Lambda gave up can save nothing any more. The returned state names the cut.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use crate::{
    analyze::{self, AnalyzeError, Board, Settings, StartMode},
    app::{
        Error,
        lambda::{Failure, Record, first, records},
        places::ReferencePlace,
        settings,
        stages::TOP_HOSTS,
    },
    backend::{
        Backend, BackendError, Batch, Incoming, SequenceNumber, Shard, ShardId, Stream,
        aws::{Aws, handed},
    },
    clock::Clock,
    config::Config,
    engine::{reference::Reference, time::Timestamp},
    reference::Watched,
    stop::{Stop, Stopper, channel},
};

/// What Lambda hands over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    #[serde(rename = "Records", default, deserialize_with = "records")]
    records: Vec<Record>,
    #[serde(default)]
    window: Option<Window>,
    #[serde(default)]
    shard_id: Option<String>,
    #[serde(default)]
    is_final_invoke_for_window: bool,
    #[serde(default)]
    is_window_terminated_early: bool,
}

impl Event {
    /// How far the final call of a window says that the shard was handed over. A window that is ended early, since its
    /// state is too large, says nothing of what is still to come.
    fn complete_to(&self) -> Option<Timestamp> {
        let ends = self.is_final_invoke_for_window && !self.is_window_terminated_early;
        self.window.filter(|_| ends).map(|window| window.end)
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Window {
    end: Timestamp,
}

/// What it answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    state: BTreeMap<&'static str, String>,
    batch_item_failures: Vec<Failure>,
}

/// The role `analyze`.
pub(super) struct Analyze {
    aws: Aws,
    settings: Settings,
    clock: Clock,
    reference: Mutex<Option<Kept>>,
    shards: Mutex<Vec<Shard>>,
    stop: Stop,
    /// Dropped, it would say stop.
    _stopper: Stopper,
}

/// The reference data in force.
struct Kept {
    watched: Watched<ReferencePlace>,
    sender: watch::Sender<Arc<Reference>>,
    looked: Timestamp,
    refresh_ms: i64,
}

impl Analyze {
    pub(super) async fn open(aws: Aws, config: &Config, clock: Clock) -> Result<Self, Error> {
        let plan = settings::plan(&config.analyze)?;
        let (sender, receiver) = watch::channel(Arc::default());
        let reference = match &config.analyze.reference {
            None => {
                tracing::warn!("no reference data: every host is unknown; set LOGTALLY_ANALYZE_REFERENCE");
                None
            }
            Some(location) => {
                let watched = settings::watched(location).await?;
                sender.send_replace(watched.current());
                let refresh_ms = settings::millis(config.analyze.reference_refresh);
                Some(Kept { watched, sender, looked: clock.now(), refresh_ms })
            }
        };
        let settings = Settings {
            pipeline: config.pipeline.as_str().to_owned(),
            plan,
            reference: receiver,
            allowed_lateness_ms: settings::millis(config.analyze.allowed_lateness),
            correction_interval_ms: settings::millis(config.analyze.correction_interval),
            checkpoint_interval_ms: 0,
            top_hosts: TOP_HOSTS,
            from: StartMode::LastStoppedPoint,
            recount: false,
            // Lambda reads, and does not come back to what it left behind.
            accept_loss: true,
            first_epoch: clock.now().as_millis().unsigned_abs(),
            board: Arc::new(Board::default()),
        };
        let (stopper, stop) = channel();
        let (reference, shards) = (Mutex::new(reference), Mutex::default());
        Ok(Self { aws, settings, clock, reference, shards, stop, _stopper: stopper })
    }

    /// Counts a batch. Lambda hands it over again if it could not be counted: from the record on that the answer names;
    /// the final call of a window, which may hold none, where it fails.
    pub(super) async fn handle(&self, event: Event) -> Result<Answer, lambda_runtime::Error> {
        let first = first(&event.records).filter(|_| !event.is_final_invoke_for_window);
        let ended = self.count(event).await;
        match (ended, first) {
            (Ok(cut), _) => Ok(Answer { state: cut, batch_item_failures: Vec::new() }),
            (Err(error), Some(first)) => {
                tracing::error!(%error, "the batch is to come again");
                let batch_item_failures = vec![Failure { item_identifier: first }];
                Ok(Answer { state: BTreeMap::new(), batch_item_failures })
            }
            (Err(error), None) => {
                tracing::error!(%error, "the call is to come again");
                Err(error.to_string().into())
            }
        }
    }

    async fn count(&self, event: Event) -> Result<BTreeMap<&'static str, String>, AnalyzeError> {
        let named = event.shard_id.as_deref().or_else(|| event.records.first().map(Record::shard));
        let id = ShardId(named.unwrap_or_default().to_owned());
        self.refresh().await;
        let (shard, shards) = self.shard(&id).await?;
        let end = event.complete_to();
        let now = self.clock.now();
        let mut at = None;
        let read = |position: Option<&SequenceNumber>| {
            let records = event.records.into_iter().map(|record| record.kinesis);
            let new = records.filter(|record| handed::is_behind(&record.sequence_number, position));
            let raw = new.map(|record| Incoming {
                sequence: SequenceNumber(record.sequence_number),
                partition_key: record.partition_key,
                arrival: record.arrival,
                data: record.data.0.into(),
            });
            let batch = batch(raw.collect(), (&shard, position), (end, now));
            at.clone_from(&batch.through);
            batch
        };
        let step = analyze::step(&self.aws, (&self.settings, &self.stop), &shards, &shard, read);
        Box::pin(step).await?; // it is large
        Ok(at.map(|position| ("cut", format!("{id} {}", position.0))).into_iter().collect())
    }

    /// A shard by its name, and all of them: asked for again where one is new.
    async fn shard(&self, id: &ShardId) -> Result<(Shard, Vec<Shard>), BackendError> {
        let mut known = self.shards.lock().await;
        if !known.iter().any(|shard| shard.id == *id) {
            *known = self.aws.shards(Stream::Input).await?;
        }
        let shard = known.iter().find(|shard| shard.id == *id).cloned();
        let shard = shard.ok_or_else(|| BackendError::Refused {
            what: format!("the event names {id}, which the stream of [aws] input_stream does not have"),
            source: None,
        })?;
        Ok((shard, known.clone()))
    }

    /// Looks at the reference data now and then; the last good one stays in force.
    async fn refresh(&self) {
        let mut kept = self.reference.lock().await;
        let Some(kept) = kept.as_mut() else { return };
        let now = self.clock.now();
        if now.millis_since(kept.looked) < kept.refresh_ms {
            return;
        }
        kept.looked = now;
        match kept.watched.refresh().await {
            Ok(None) => {}
            Ok(Some(difference)) => {
                tracing::info!("reference data reloaded: {difference}");
                kept.sender.send_replace(kept.watched.current());
            }
            Err(error) => tracing::error!("keeping the last good reference data: {error}"),
        }
    }
}

/// The records behind the position, as a reader would have given them.
fn batch(
    raw: Vec<Incoming>,
    (shard, position): (&Shard, Option<&SequenceNumber>),
    (end, now): (Option<Timestamp>, Timestamp),
) -> Batch {
    let last = raw.last().map(|record| (record.sequence.0.clone(), record.arrival));
    let newest = raw.iter().map(|record| record.arrival).max();
    let known = position.map_or(Timestamp::MIN, handed::complete_to);
    let complete_to = [newest, end].into_iter().flatten().fold(known, Timestamp::max);
    let behind_ms = newest.map_or(0, |newest| now.millis_since(newest).max(0).unsigned_abs());
    let through =
        handed::through(last.as_ref().map(|(sequence, _)| sequence.as_str()), position, complete_to);
    let records = handed::open(raw, shard);
    Batch { records, through: Some(through), complete_to, behind_ms, end_of_shard: false }
}
