//! Reads a shard by being sent it: enhanced fan-out, 2 MiB/s for this pipeline alone. Judges no position.
//!
//! A subscription lasts 5 minutes at most, and may fall silent without an end: then it is given up and made anew
//! (`SubscribeToShard`; redpanda-data/connect, pull request 4724).

use std::{sync::Arc, time::Duration};

use aws_sdk_kinesis::{
    config::{Builder, StalledStreamProtectionConfig},
    error::ProvideErrorMetadata,
    operation::subscribe_to_shard::SubscribeToShardOutput,
    primitives::Blob,
    types::{
        ConsumerDescription, ConsumerStatus, Record, ShardIteratorType, StartingPosition,
        SubscribeToShardEvent, SubscribeToShardEventStream as Sent,
    },
};
use aws_smithy_types::DateTime;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{
    backend::{
        BackendError, Result,
        aws::{
            error::Call,
            poll::raw,
            position::{Place, Position},
            reader::Read,
            records::Cursor,
        },
    },
    engine::time::Timestamp,
};

/// How soon a shard may be subscribed to again: before, the older subscription wins (`SubscribeToShard`).
const AGAIN: Duration = Duration::from_secs(5);
/// How long a subscription may be silent. Kinesis sends an event every few seconds, records or not.
const SILENCE: Duration = Duration::from_secs(35);
/// What lies here already is there sooner than this: what took longer was not here when it was asked for.
const LYING: Duration = Duration::from_millis(50);
/// How often a consumer that is being registered is looked at, and how many times.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: usize = 120;

/// Where the subscribing stands.
#[derive(Debug)]
pub(super) struct Push {
    /// The consumer's ARN.
    consumer: String,
    subscription: Option<SubscribeToShardOutput>,
    /// When the last one was asked for.
    asked: Option<Instant>,
    /// Behind what was sent; moves on where no records come, too.
    continuation: Option<String>,
    /// The last event named child shards: what follows it is the end.
    ending: bool,
}

/// What the wait for an event came to.
enum Event {
    Some {
        event: SubscribeToShardEvent,
        /// It was not there yet when it was asked for, so that it was sent later.
        awaited: bool,
    },
    /// The subscription is over.
    End,
}

impl Push {
    /// Registers the consumer where there is none; fails for a position that the stream does not know.
    pub(super) async fn open(cursor: &Cursor<'_>, place: &Place) -> Result<Self> {
        cursor.iterator(place).await?;
        let consumer = consumer(cursor).await?;
        Ok(Self { consumer, subscription: None, asked: None, continuation: None, ending: false })
    }

    /// What follows `position`, when it is sent. Cancel-safe.
    pub(super) async fn read(&mut self, cursor: &Cursor<'_>, position: &Position) -> Result<Read> {
        loop {
            if self.subscription.is_none() {
                self.subscribe(cursor, &position.place).await?;
            }
            let asked = cursor.shared.settings.clock.now();
            match timeout(SILENCE, self.next(cursor)).await {
                Ok(Ok(Event::Some { event, awaited })) => {
                    let read = self.take(event, position, asked);
                    // One that has lain here, and holds nothing, says nothing about now.
                    if awaited || read.end || read.behind_ms > 0 || !read.records.is_empty() {
                        return Ok(read);
                    }
                }
                Ok(Ok(Event::End)) if self.ending => {
                    let records = Arc::default();
                    return Ok(Read { records, taken: 0, asked, behind_ms: 0, end: true });
                }
                Ok(Ok(Event::End)) => self.subscription = None,
                Ok(Err(error)) => {
                    self.subscription = None;
                    return Err(error);
                }
                Err(_) => {
                    tracing::warn!(shard = %cursor.shard, "a subscription is silent: subscribing again");
                    self.subscription = None;
                }
            }
        }
    }

    async fn subscribe(&mut self, cursor: &Cursor<'_>, place: &Place) -> Result<()> {
        if let Some(asked) = self.asked {
            sleep_until(asked + AGAIN).await;
        }
        self.asked = Some(Instant::now());
        self.ending = false;
        let from = starting(place, self.continuation.as_deref())?;
        let name = cursor.shared.settings.stream(cursor.stream);
        let ask = cursor.shared.clients.kinesis.subscribe_to_shard();
        let ask = ask.consumer_arn(&self.consumer).shard_id(&cursor.shard.0).starting_position(from);
        // Silence is watched over here; a shard of few records is no stalled stream.
        let patient = Builder::new().stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let answer = ask.customize().config_override(patient).send().await;
        let call = Call { action: "kinesis:SubscribeToShard", kind: "stream", name };
        self.subscription = Some(answer.map_err(|error| match error.code() {
            // Another worker has just handed the shard over.
            Some("ResourceInUseException") => {
                BackendError::Busy { why: format!("{call}: another subscription to {} ends", cursor.shard) }
            }
            _ => cursor.fault(call, error),
        })?);
        Ok(())
    }

    async fn next(&mut self, cursor: &Cursor<'_>) -> Result<Event> {
        let Some(subscription) = &mut self.subscription else { return Ok(Event::End) };
        loop {
            let began = Instant::now();
            let sent = subscription.event_stream.recv().await;
            let awaited = began.elapsed() >= LYING;
            let name = cursor.shared.settings.stream(cursor.stream);
            // However it broke, a new one goes on where it was.
            let broken = |why: String| BackendError::Busy {
                why: format!("kinesis:SubscribeToShard on stream {name}: {why}"),
            };
            match sent
                .map_err(|error| broken(error.message().map_or_else(|| error.to_string(), str::to_owned)))?
            {
                Some(Sent::SubscribeToShardEvent(event)) => return Ok(Event::Some { event, awaited }),
                // Something that a later version of the service sends.
                Some(_) => {}
                None => return Ok(Event::End),
            }
        }
    }

    fn take(&mut self, event: SubscribeToShardEvent, position: &Position, asked: Timestamp) -> Read {
        let SubscribeToShardEvent { mut records, child_shards, millis_behind_latest, .. } = event;
        self.ending = child_shards.is_some_and(|children| !children.is_empty());
        self.continuation = Some(event.continuation_sequence_number).filter(|next| !next.is_empty());
        let end = self.ending && (records.is_empty() || self.continuation.is_none());
        if let Place::Behind(last) = &position.place {
            // A new subscription may begin with what the last one ended with.
            records.retain(|record| follows(&record.sequence_number, last));
        }
        let apart = |mut record: Record| {
            let payload = std::mem::replace(&mut record.data, Blob::new(""));
            (record, payload.into_inner().into())
        };
        let records = records.into_iter().map(apart);
        let records = Arc::new(raw(records, position.complete_to));
        let behind_ms = u64::try_from(millis_behind_latest).unwrap_or(0);
        Read { records, taken: 0, asked, behind_ms, end }
    }
}

/// Whether one sequence number is larger: they are decimal numbers without leading zeros (`SequenceNumber`).
fn follows(sequence: &str, last: &str) -> bool {
    (sequence.len(), sequence) > (last.len(), last)
}

fn starting(place: &Place, continuation: Option<&str>) -> Result<StartingPosition> {
    let from = StartingPosition::builder();
    let from = match (place, continuation) {
        (_, Some(sequence)) => from.r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(sequence),
        (Place::Behind(sequence), None) => {
            from.r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(sequence)
        }
        (Place::Horizon, None) => from.r#type(ShardIteratorType::TrimHorizon),
        (Place::Time(time), None) => {
            from.r#type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(time.as_millis()))
        }
    };
    from.build().map_err(|why| BackendError::failed("where to subscribe from", why))
}

/// The ARN of the stream's consumer of the pipeline's name, registered if need be.
async fn consumer(cursor: &Cursor<'_>) -> Result<String> {
    let (shared, name) = (cursor.shared, cursor.shared.settings.stream(cursor.stream));
    let stream = shared.summaries.of(&shared.clients, cursor.stream, name).await?.arn;
    let (kinesis, pipeline) = (&shared.clients.kinesis, &shared.settings.pipeline);
    for _ in 0..LOOKS {
        let ask = kinesis.describe_stream_consumer().stream_arn(&stream).consumer_name(pipeline);
        match ask.send().await {
            Ok(answer) => {
                let active =
                    |consumer: &ConsumerDescription| consumer.consumer_status == ConsumerStatus::Active;
                if let Some(consumer) = answer.consumer_description.filter(active) {
                    return Ok(consumer.consumer_arn);
                }
                sleep(LOOK).await;
            }
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                let ask = kinesis.register_stream_consumer().stream_arn(&stream).consumer_name(pipeline);
                let call = Call { action: "kinesis:RegisterStreamConsumer", kind: "stream", name };
                match ask.send().await {
                    Ok(_) => tracing::info!("registered consumer {pipeline} of stream {name}"),
                    // Another worker was faster.
                    Err(error) if error.code() == Some("ResourceInUseException") => {}
                    Err(error) => return Err(call.fault(error)),
                }
            }
            Err(error) => {
                let call = Call { action: "kinesis:DescribeStreamConsumer", kind: "stream", name };
                return Err(call.fault(error));
            }
        }
    }
    Err(BackendError::Busy { why: format!("consumer {pipeline} of stream {name} does not become active") })
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::{
        primitives::Blob,
        types::{ChildShard, HashKeyRange, Record},
    };

    use super::*;
    use crate::backend::aws::payload::Raw;

    fn push() -> Push {
        Push {
            consumer: "arn".to_owned(),
            subscription: None,
            asked: None,
            continuation: None,
            ending: false,
        }
    }

    fn event(records: &[&str], continuation: &str, children: bool) -> SubscribeToShardEvent {
        let record = |sequence: &&str| {
            Record::builder().sequence_number(*sequence).data(Blob::new("x")).build().unwrap()
        };
        let range = HashKeyRange::builder().starting_hash_key("0").ending_hash_key("1").build().unwrap();
        let child = ChildShard::builder().shard_id("child").parent_shards("p").hash_key_range(range);
        let children = children.then(|| vec![child.build().unwrap()]);
        SubscribeToShardEvent::builder()
            .set_records(Some(records.iter().map(record).collect()))
            .continuation_sequence_number(continuation)
            .millis_behind_latest(0)
            .set_child_shards(children)
            .build()
            .unwrap()
    }

    const NOW: Timestamp = Timestamp::from_millis(9);

    fn behind(sequence: &str) -> Position {
        Position { place: Place::Behind(sequence.to_owned()), complete_to: NOW }
    }

    fn from(push: &Push) -> String {
        let from = starting(&Place::Horizon, push.continuation.as_deref()).unwrap();
        format!("{} {}", from.r#type().as_str(), from.sequence_number().unwrap_or_default())
    }

    #[test]
    fn it_goes_on_behind_the_last_event_records_or_not() {
        let mut push = push();
        assert_eq!(from(&push), "TRIM_HORIZON ");
        push.take(event(&["5"], "5", false), &behind("1"), NOW);
        assert_eq!(from(&push), "AFTER_SEQUENCE_NUMBER 5");
        push.take(event(&[], "8", false), &behind("1"), NOW);
        assert_eq!(from(&push), "AFTER_SEQUENCE_NUMBER 8");
    }

    #[test]
    fn what_a_new_subscription_repeats_is_passed_over() {
        let read = push().take(event(&["8", "9", "10", "11"], "11", false), &behind("9"), NOW);
        let sequences: Vec<&str> = read.records.iter().map(Raw::sequence_number).collect();
        assert_eq!(sequences, ["10", "11"]);
    }

    #[test]
    fn a_shard_ends_with_its_children_and_nothing_to_go_on_with() {
        let mut push = push();
        assert!(!push.take(event(&["5"], "5", true), &behind("1"), NOW).end, "records may follow");
        assert!(push.ending);
        assert!(push.take(event(&[], "5", true), &behind("1"), NOW).end);
        assert!(push.take(event(&["5"], "", true), &behind("1"), NOW).end);
        assert!(!push.take(event(&[], "", false), &behind("1"), NOW).end);
    }
}
