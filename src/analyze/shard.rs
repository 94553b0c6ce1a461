//! One shard: read, count, save, send. The order of saving and sending is the exactness of the pipeline.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    analyze::{
        AnalyzeError, Progress, Settings,
        mark::Mark,
        start::{engine, load, origin, outgoing},
    },
    backend::{
        Amount, Append, Backend, BackendError, Batch, Checkpoint, CheckpointStore, Loss, Outbox,
        SequenceNumber, Shard, StartAt, Stream, StreamWriter,
        retry::{Retry, next_batch, reader},
        work::Ended,
    },
    blocking,
    engine::{
        cut::CutRef,
        engine::Engine,
        parcel::{Parcel, pack},
        record::Record,
        row::{Origin, Output},
        state::State,
    },
    stop::Stop,
};

/// A cut may take at most this part of the time: a large one is saved less often.
const SAVE_SHARE: u32 = 20;

/// What every shard's task needs.
#[derive(Clone)]
pub(crate) struct Worker<B: Backend> {
    pub(crate) backend: B,
    pub(crate) store: B::Checkpoints,
    pub(crate) settings: Settings,
    pub(crate) epoch: u64,
    pub(crate) stop: Stop,
}

/// One shard being read.
pub(super) struct Running<B: Backend> {
    worker: Worker<B>,
    shard: Shard,
    origin: Origin,
    writer: B::Writer,
    engine: Option<Engine>,
    position: Option<SequenceNumber>,
    /// Rows not yet saved, and after a save those not yet sent.
    outbox: Vec<Parcel>,
    saved: Instant,
    pause: Duration,
    changed: bool,
    mark: Mark,
}

impl<B: Backend> Worker<B> {
    pub(crate) async fn run(self, shard: Shard) -> Result<Ended, AnalyzeError> {
        let id = shard.id.clone();
        match self.start(shard).await {
            Err(AnalyzeError::Backend(error)) => Ok(Ended::by(&id, error)?),
            ended => ended,
        }
    }

    async fn start(self, shard: Shard) -> Result<Ended, AnalyzeError> {
        let Some(mut running) = self.resume(shard).await? else { return Ok(Ended::EndOfShard) };
        let reader = running.open().await?;
        running.say_where();
        running.read(reader).await
    }

    /// The shard as its cut left it, with what that cut had still to send sent; nothing if it was read to its end.
    pub(super) async fn resume(mut self, shard: Shard) -> Result<Option<Running<B>>, AnalyzeError> {
        let found = load(&self.store, &shard.id, &self.stop).await?;
        let ended = found.as_ref().is_some_and(|found| found.cut.ended);
        let (state, position, outbox) = if let Some(found) = found {
            // Another process may have begun this shard, in an epoch of its own.
            self.epoch = found.cut.epoch;
            let outbox = if found.outbox == Outbox::Pending { found.cut.outbox } else { Vec::new() };
            (found.cut.state, found.position, outbox)
        } else {
            // Ids that were given before, if the shard's cut was deleted, are of an earlier epoch.
            self.epoch = self.epoch.max(self.settings.first_epoch);
            Box::pin(self.close_parents(&shard)).await?;
            (State::new(self.settings.plan.window), None, Vec::new())
        };
        if ended && outbox.is_empty() {
            return Ok(None);
        }
        let state = if position.is_none() { self.inherited(&shard, state).await? } else { state };
        let retry = Retry::new("opening the output stream", &self.stop);
        let writer = retry.until_done(|| self.backend.writer(Stream::Output)).await?;
        let mark = Mark::new(state.complete_to);
        let (engine, rows) = engine(&self.settings, &shard, self.epoch, state);
        let mut running = Running {
            origin: origin(&self.settings, &shard, self.epoch),
            pause: Duration::from_millis(self.settings.checkpoint_interval_ms),
            worker: self,
            shard,
            writer,
            engine: Some(engine),
            position,
            outbox,
            saved: Instant::now(),
            changed: false,
            mark,
        };
        running.send().await?;
        if ended {
            // The last rows of a shard that ended are sent now: its children may be read.
            running.save(true).await?;
            return Ok(None);
        }
        running.pack(&rows);
        Ok(Some(running))
    }
}

impl<B: Backend> Running<B> {
    /// Opens the shard where it is to be read on. Records that are past retention are an error, or entered into the
    /// books as expired.
    async fn open(&mut self) -> Result<B::Reader, AnalyzeError> {
        let (backend, shard) = (self.worker.backend.clone(), self.shard.id.clone());
        let start = self.position.as_ref().map_or(StartAt::TrimHorizon, |at| StartAt::After(at.clone()));
        let opened = match reader(&backend, (Stream::Input, &shard), start, &self.worker.stop).await {
            Ok(reader) if self.position.is_none() => self.unless_gone().await.map(|()| reader),
            opened => opened,
        };
        match opened {
            Err(BackendError::Gone { loss, .. }) if self.worker.settings.accept_loss => {
                tracing::warn!(%shard, "going on without what is past retention: {loss} unread");
                let start = StartAt::TrimHorizon;
                let reader = reader(&backend, (Stream::Input, &shard), start, &self.worker.stop).await?;
                // Of what was read and not saved the port knows nothing. Where it has books of the shard, what they
                // hold and ours do not is what was lost.
                let trimmed = self.trimmed().await?.bytes;
                let missing = trimmed.saturating_sub(self.engine().counters().bytes());
                let bytes = if trimmed > 0 { missing } else { loss.bytes.unwrap_or_default() };
                self.engine().expire(loss.records.unwrap_or_default(), bytes);
                self.changed = true;
                Ok(reader)
            }
            opened => Ok(opened?),
        }
    }

    /// Fails if records expired that were never read, in a shard of which nothing was read yet: no position tells.
    /// Called once the reader has its place, which retention does not overtake unnoticed.
    async fn unless_gone(&mut self) -> Result<(), BackendError> {
        let shard = self.shard.id.clone();
        let before = self.trimmed().await?;
        let counters = self.engine().counters();
        let bytes = before.bytes.saturating_sub(counters.bytes());
        if bytes == 0 {
            return Ok(());
        }
        let records = before.records.saturating_sub(counters.expired_records);
        let records = (counters.skipped_bytes == 0).then_some(records);
        let loss = Loss { records, bytes: Some(bytes), arrivals: None };
        let why = format!(
            "{shard} of the input stream no longer holds what came before anything of it was read: {loss} passed \
             retention unread; --accept-loss goes on with the oldest record kept"
        );
        Err(BackendError::Gone { why, loss })
    }

    /// What was deleted of the shard, ever.
    async fn trimmed(&mut self) -> Result<Amount, BackendError> {
        let (backend, shard) = (&self.worker.backend, &self.shard.id);
        let retry = Retry::new("looking at the shard", &self.worker.stop);
        retry.until_done(|| backend.trimmed(Stream::Input, shard)).await
    }

    /// Saves, sends, and saves that this was sent: whoever comes next may come when `deliver` has forgotten what it
    /// published, and must not send it again; and the children of a shard wait for that.
    async fn settle(&mut self, ended: bool) -> Result<(), AnalyzeError> {
        if self.save(ended).await? == Outbox::Pending {
            self.save(ended).await?;
        }
        Ok(())
    }

    /// Counts a batch that somebody else read behind [`Self::position`], and saves.
    pub(super) async fn step(mut self, batch: Batch) -> Result<(), AnalyzeError> {
        let ended = batch.end_of_shard;
        self.process(batch, ended).await?;
        self.settle(ended).await
    }

    /// Where the next batch is to begin.
    pub(super) fn position(&self) -> Option<&SequenceNumber> {
        self.position.as_ref()
    }

    /// Closes every window of a shard of which nothing more will come.
    pub(super) async fn finish(mut self) -> Result<(), AnalyzeError> {
        let rows = self.engine().close();
        self.pack(&rows);
        self.settle(true).await
    }

    fn say_where(&self) {
        let from = self
            .position
            .as_ref()
            .map_or("the oldest record kept".to_owned(), |position| format!("behind record {}", position.0));
        tracing::info!(shard = %self.shard.id, "reading from {from}");
    }

    async fn read(mut self, mut reader: B::Reader) -> Result<Ended, AnalyzeError> {
        let mut stop = self.worker.stop.clone();
        loop {
            let next = match next_batch(&mut reader, &mut stop, "reading the input stream").await {
                // Retention overtook a slow reader.
                Err(BackendError::Gone { .. }) if self.worker.settings.accept_loss => {
                    reader = self.open().await?;
                    continue;
                }
                // It can be read no more: what was read of it is kept.
                Err(gone @ (BackendError::Unlisted { .. } | BackendError::Gone { .. })) => {
                    self.save(false).await?;
                    return Err(gone.into());
                }
                next => next?,
            };
            let Some((batch, drained)) = next else { break };
            let ended = batch.end_of_shard;
            let due = self.process(batch, ended).await?;
            if ended {
                self.settle(true).await?;
                return Ok(Ended::EndOfShard);
            }
            if due || (self.changed && self.saved.elapsed() >= self.pause) {
                self.save(false).await?;
            }
            if drained {
                self.publish_corrections().await?;
                break;
            }
        }
        self.save(false).await?;
        Ok(Ended::Stopped)
    }

    /// Counts a batch; true if it published rows.
    async fn process(&mut self, batch: Batch, ended: bool) -> Result<bool, AnalyzeError> {
        self.changed |= !batch.records.is_empty();
        self.position = batch.through.clone().or(self.position.take());
        let mut engine = self.engine.take().ok_or_else(lost)?;
        let reference = Arc::clone(&self.worker.settings.reference.borrow());
        let behind_ms = batch.behind_ms;
        let counted = blocking::run(move || {
            engine.set_reference(reference);
            let rows = count(&mut engine, &batch, ended);
            (engine, rows)
        });
        let (engine, rows) = counted.await.map_err(|why| BackendError::failed("counting a batch", why))?;
        let state = self.engine.insert(engine).state();
        let progress = Progress {
            read: state.counters.read,
            counted: state.counters.counted,
            behind_ms,
            complete_to: state.complete_to,
        };
        self.worker.settings.board.insert(self.shard.id.clone(), progress);
        self.pack(&rows);
        let interval = self.worker.settings.correction_interval_ms;
        if !self.mark.stands_still(progress.complete_to, interval) {
            return Ok(!rows.is_empty());
        }
        let corrections = self.engine().publish_corrections();
        self.pack(&corrections);
        Ok(!rows.is_empty() || !corrections.is_empty())
    }

    /// Nobody waits for further corrections: publishes those gathered so far, cut by cut.
    async fn publish_corrections(&mut self) -> Result<(), AnalyzeError> {
        loop {
            let rows = self.engine().publish_corrections();
            if rows.is_empty() {
                return Ok(());
            }
            self.pack(&rows);
            self.save(false).await?;
        }
    }

    fn pack(&mut self, rows: &[Output]) {
        let number = self.engine().state().cut;
        let mut parcels = pack(&self.origin, number, rows);
        self.changed |= !parcels.is_empty();
        self.outbox.append(&mut parcels);
    }

    /// Saves the cut with its outbox, then sends the outbox; the next cut clears it. Says whether there was one to clear.
    async fn save(&mut self, ended: bool) -> Result<Outbox, AnalyzeError> {
        let began = Instant::now();
        let (epoch, outbox) = (self.worker.epoch, std::mem::take(&mut self.outbox));
        let state = self.engine().state();
        if !state.balances() {
            tracing::error!(counters = ?state.counters, published = state.published, "the books do not balance");
        }
        let encoded = CutRef { epoch, ended, state, outbox: &outbox }.encode();
        let state = encoded.map_err(|source| AnalyzeError::Cut { shard: self.shard.id.clone(), source })?;
        self.outbox = outbox;
        let checkpoint = Checkpoint { position: self.position.clone(), state, ended };
        let (store, shard, outbox) = (&self.worker.store, &self.shard.id, &self.outbox);
        let retry = Retry::new("saving a checkpoint", &self.worker.stop);
        let save = || store.save(shard, checkpoint.clone(), outgoing(outbox));
        let sent = retry.until_done(save).await?;
        match sent {
            Outbox::Sent => self.outbox.clear(),
            Outbox::Pending => self.send().await?,
        }
        self.changed = false;
        self.saved = Instant::now();
        let interval = Duration::from_millis(self.worker.settings.checkpoint_interval_ms);
        self.pause = interval.max(began.elapsed() * SAVE_SHARE);
        Ok(sent)
    }

    async fn send(&mut self) -> Result<(), AnalyzeError> {
        let append = Append { records: outgoing(&self.outbox), sources: Vec::new() };
        if append.records.is_empty() {
            return Ok(());
        }
        let mut retry = Retry::new("appending to the output stream", &self.worker.stop);
        while retry.attempt(self.writer.append(append.clone())).await?.is_none() {}
        self.outbox.clear();
        Ok(())
    }

    #[expect(
        clippy::expect_used,
        reason = "the engine is away only inside process, which puts it back or ends the task"
    )]
    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("the engine is here between batches")
    }
}

fn lost() -> BackendError {
    BackendError::Failed { what: "the engine was lost in an earlier batch".to_owned(), source: None }
}

fn count(engine: &mut Engine, batch: &Batch, ended: bool) -> Vec<Output> {
    for record in &batch.records {
        let (partition_key, data) = (record.partition_key.as_str(), record.data.as_ref());
        engine.push(Record { partition_key, data, arrival: record.arrival });
    }
    engine.note_lag(batch.behind_ms);
    let mut rows = engine.advance(batch.complete_to);
    if ended {
        rows.append(&mut engine.close());
    }
    rows
}
