//! Datums to CloudWatch, each parcel once. Judges nothing, and reads no metric: `sums` does.
//!
//! A call is claimed in the ledger, sent once, and entered as done. What is known not to have been added is given
//! back, so that [`BackendError::Busy`] leaves nothing claimed that was not sent; what nobody knows stays claimed, in
//! doubt. One call in doubt holds up the next ones of this sink until CloudWatch answers again, so that an outage
//! puts one call of each shard in doubt and not all of them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    backend::{
        BackendError, Datum, MetricSink, Parcel, Published, Result, Series,
        aws::{
            Shared,
            call::{Call, Unit, units},
            entries::{Head, State},
            ledger::{Claim, Claimed, Ledger},
            send::{Outcome, put},
        },
    },
    config::InDoubt,
    engine::metric::IN_DOUBT,
};

/// Sums out of range that are logged of one call.
const OUT_OF_RANGE_LINES: usize = 10;

/// What became of a unit. A parcel became what the last of these says about any of its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Duplicate,
    Added,
    InDoubt,
}

/// Adds to metrics.
#[derive(Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
    ledger: Ledger,
    /// What became of units since the last call that came to its end.
    fates: BTreeMap<String, Fate>,
    /// What was counted since then, except for parcels.
    counted: Published,
    /// Claims that may stand, of calls that were certainly not sent.
    unsent: Vec<Claim>,
    /// Claims of which the ledger does not say yet what came of them, and why.
    unmarked: Vec<(Claim, State, String)>,
    /// Parcels in doubt that the metric does not know yet.
    unannounced: usize,
}

impl Metrics {
    #[expect(clippy::unused_async, reason = "the backends open their ports alike; this one asks nothing yet")]
    pub(super) async fn open(shared: Arc<Shared>) -> Result<Self> {
        Ok(Self {
            ledger: Ledger::new(&shared),
            shared,
            fates: BTreeMap::new(),
            counted: Published::default(),
            unsent: Vec::new(),
            unmarked: Vec::new(),
            unannounced: 0,
        })
    }
}

impl MetricSink for Metrics {
    async fn publish(&mut self, parcels: Arc<[Parcel]>) -> Result<Published> {
        let mut ids = BTreeMap::new();
        let (mut waiting, mut again) = (VecDeque::new(), 0);
        for parcel in parcels.iter() {
            let id = parcel.id.clone();
            let units = units(parcel)?;
            if !units.is_empty() && ids.contains_key(&id) {
                again += 1;
                continue;
            }
            ids.insert(id, units.iter().map(|unit| unit.id.clone()).collect::<Vec<_>>());
            waiting.extend(units.into_iter().filter(|unit| !self.fates.contains_key(&unit.id)));
        }
        while !waiting.is_empty() {
            self.clear().await?;
            self.step(&mut waiting).await?;
        }
        self.mark().await?;
        // What the metric still does not know, it learns before the next call.
        if let Err(busy) = self.announce().await {
            tracing::debug!("parcels in doubt are not announced yet: {busy}");
        }
        Ok(self.report(&ids, again))
    }
}

impl Metrics {
    /// Nothing of what was before stands open when a call is claimed.
    async fn clear(&mut self) -> Result<()> {
        self.release().await?;
        self.mark().await?;
        self.announce().await
    }

    async fn release(&mut self) -> Result<()> {
        while let Some(claim) = self.unsent.last() {
            self.ledger.release(claim).await?;
            self.unsent.pop();
        }
        Ok(())
    }

    async fn mark(&mut self) -> Result<()> {
        while let Some((claim, state, reason)) = self.unmarked.last() {
            if !self.ledger.enter(claim, *state, reason).await? && *state == State::Done {
                tracing::error!(
                    call = claim.key,
                    "a call that was taken for dead came through after all: if it was sent again, it counts twice"
                );
            }
            self.unmarked.pop();
        }
        Ok(())
    }

    /// Claims and sends one call, or finds out about what was claimed before.
    async fn step(&mut self, waiting: &mut VecDeque<Unit>) -> Result<()> {
        let now = self.shared.settings.clock.now();
        let (call, taken) = Call::pack(&self.shared.settings.namespace, waiting, now);
        let claim = Claim::new(taken.iter().map(|unit| unit.id.clone()).collect(), now);
        let claimed = match self.ledger.claim(&claim, &call).await {
            Ok(claimed) => claimed,
            Err(error) => return Err(self.give_back(claim, error).await),
        };
        match claimed {
            Claimed::Ours => self.send(claim, &call).await,
            Claimed::Known(known) => {
                for unit in taken.into_iter().rev() {
                    waiting.push_front(unit);
                }
                self.look_up(known).await?;
                waiting.retain(|unit| !self.fates.contains_key(&unit.id));
                Ok(())
            }
        }
    }

    async fn give_back(&mut self, claim: Claim, error: BackendError) -> BackendError {
        self.unsent.push(claim);
        if let Err(why) = self.release().await {
            tracing::warn!("a claim of metrics that were not sent stands for now: {why}");
        }
        error
    }

    async fn send(&mut self, claim: Claim, call: &Call) -> Result<()> {
        if !claim.is_fresh(self.shared.settings.clock.now()) {
            let why = format!("claiming metrics in table {} took too long", self.ledger.table);
            return Err(self.give_back(claim, BackendError::Busy { why }).await);
        }
        self.report_out_of_range(call);
        let (units, datums) = (claim.units.clone(), count(call.datums.len()));
        let outcome = if call.datums.is_empty() {
            Outcome::Added
        } else {
            put(&self.shared.clients.cloudwatch_once, &call.namespace, call.datums.iter()).await
        };
        let fate = match outcome {
            Outcome::NotAdded(error) => return Err(self.give_back(claim, error).await),
            Outcome::Added => {
                self.counted.datums += datums;
                if !call.datums.is_empty() {
                    self.unmarked.push((claim, State::Done, String::new()));
                }
                Fate::Added
            }
            Outcome::Refused(why) => {
                self.refused(claim, datums, why);
                Fate::Added
            }
            Outcome::Unknown(why) if self.shared.settings.in_doubt == InDoubt::Resend => {
                tracing::warn!(call = claim.key, "metrics may have been added, and are sent again: {why}");
                let busy = BackendError::Busy { why: format!("cloudwatch:PutMetricData: {why}") };
                self.unmarked.push((claim, State::Doubt, why));
                self.mark().await?;
                return Err(busy);
            }
            Outcome::Unknown(why) => {
                tracing::error!(
                    call = claim.key,
                    parcels = units.len(),
                    datums,
                    "metrics may have been added or not ({why}): they are not sent again; settle them with audit \
                     --settle"
                );
                self.unannounced += units.len();
                self.unmarked.push((claim, State::Doubt, why));
                Fate::InDoubt
            }
        };
        self.fates.extend(units.into_iter().map(|unit| (unit, fate)));
        Ok(())
    }

    fn refused(&mut self, claim: Claim, datums: u64, why: String) {
        tracing::error!(
            call = claim.key,
            datums,
            "CloudWatch refuses metrics for good: {why}; the ledger keeps them"
        );
        self.counted.refused += datums;
        self.unmarked.push((claim, State::Refused, why));
    }

    fn report_out_of_range(&mut self, call: &Call) {
        let out = &call.out_of_range;
        self.counted.out_of_range += count(out.len());
        for Datum { series, timestamp, value } in out.iter().take(OUT_OF_RANGE_LINES) {
            tracing::warn!(
                metric = series.name,
                dimensions = ?series.dimensions,
                window = %timestamp,
                value,
                "not published: CloudWatch takes timestamps from two weeks ago to two hours ahead"
            );
        }
        if out.len() > OUT_OF_RANGE_LINES {
            let more = out.len() - OUT_OF_RANGE_LINES;
            tracing::warn!(
                more,
                "more sums of this call are not published for their timestamps; audit shows them"
            );
        }
    }

    /// Finds out what became of units that others claimed.
    async fn look_up(&mut self, known: Vec<String>) -> Result<()> {
        let calls = self.ledger.calls_of(&known).await?;
        let heads = self.ledger.heads(&calls.values().cloned().collect::<BTreeSet<_>>()).await?;
        let gone = calls.iter().filter(|(_, call)| !heads.contains_key(*call));
        let gone: Vec<String> = gone.map(|(unit, _)| unit.clone()).collect();
        let still = if gone.is_empty() { BTreeMap::new() } else { self.ledger.calls_of(&gone).await? };
        let mut units: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
        for (unit, call) in &calls {
            // A claim that was given back between the two looks took its parcels with it: they are still to be sent.
            if heads.contains_key(call) || still.get(unit) == Some(call) {
                units.entry(call).or_default().push(unit);
            }
        }
        let mut busy = None;
        for (call, units) in units {
            // A call that is past its time was done, or its parcels would be kept no longer than it.
            let fate = match heads.get(call) {
                Some(head) => self.fate(head, units.len()).await?,
                None => Some(Fate::Duplicate),
            };
            match (fate, heads.get(call)) {
                (Some(fate), _) => self.fates.extend(units.into_iter().map(|unit| (unit.clone(), fate))),
                (None, head) => busy = head,
            }
        }
        busy.map_or(Ok(()), |head| {
            let Head { worker, at, .. } = head;
            Err(BackendError::Busy {
                why: format!("worker {worker} claimed parcels at {at} and is sending them, or has stopped"),
            })
        })
    }

    /// What became of a call; `None` while it may still be on its way.
    async fn fate(&mut self, head: &Head, units: usize) -> Result<Option<Fate>> {
        match head.state {
            State::Done | State::Refused => return Ok(Some(Fate::Duplicate)),
            State::Claimed if !head.is_stale(self.shared.settings.clock.now()) => return Ok(None),
            State::Claimed | State::Doubt => {}
        }
        if self.shared.settings.in_doubt == InDoubt::Resend && self.resend(head).await? {
            return Ok(Some(Fate::Added));
        }
        if head.state == State::Claimed && self.ledger.doubt(head).await? {
            tracing::error!(
                call = head.key,
                parcels = head.parcels,
                "worker {} claimed metrics at {} and stopped: they may have been added or not, and are not sent again; \
                 settle them with audit --settle",
                head.worker,
                head.at
            );
            self.unannounced += units;
        }
        Ok(Some(Fate::InDoubt))
    }

    /// Sends a call in doubt once more; `false` if that cannot be.
    async fn resend(&mut self, head: &Head) -> Result<bool> {
        let Some(entry) = self.ledger.entry(&head.key).await? else { return Ok(false) };
        if !entry.call.is_sendable(self.shared.settings.clock.now()) {
            return Ok(false);
        }
        let busy = |why: String| BackendError::Busy { why: format!("cloudwatch:PutMetricData: {why}") };
        let Some(claim) = self.ledger.take_over(head).await? else {
            return Err(busy("another worker sends a call in doubt".to_owned()));
        };
        let Call { namespace, datums, .. } = &entry.call;
        let outcome = put(&self.shared.clients.cloudwatch_once, namespace, datums.iter()).await;
        tracing::warn!(call = head.key, datums = datums.len(), ?outcome, "sent a call in doubt again");
        self.counted.resent += 1;
        match outcome {
            Outcome::Added => {
                self.counted.datums += count(datums.len());
                self.unmarked.push((claim, State::Done, String::new()));
                Ok(true)
            }
            Outcome::Refused(why) => {
                self.refused(claim, count(datums.len()), why);
                Ok(true)
            }
            Outcome::NotAdded(error) => {
                self.unmarked.push((claim, State::Doubt, entry.reason));
                self.mark().await?;
                Err(error)
            }
            Outcome::Unknown(why) => {
                self.unmarked.push((claim, State::Doubt, why.clone()));
                self.mark().await?;
                Err(busy(why))
            }
        }
    }

    /// Adds what is in doubt to the metric of that name: not in the ledger itself, so that it may count a parcel
    /// twice if this very call is lost.
    async fn announce(&mut self) -> Result<()> {
        if self.unannounced == 0 {
            return Ok(());
        }
        let settings = &self.shared.settings;
        let datum = Datum {
            series: Series { name: IN_DOUBT.to_owned(), dimensions: Vec::new() },
            timestamp: settings.window.start_of(settings.clock.now()),
            value: f64::from(u32::try_from(self.unannounced).unwrap_or(u32::MAX)),
        };
        match put(&self.shared.clients.cloudwatch_once, &settings.namespace, std::iter::once(&datum)).await {
            Outcome::NotAdded(error) => return Err(error),
            Outcome::Unknown(why) => {
                let why = format!("a call is in doubt, and CloudWatch gives no answer since: {why}");
                return Err(BackendError::Busy { why });
            }
            Outcome::Refused(why) => tracing::warn!("CloudWatch refuses the metric {IN_DOUBT}: {why}"),
            Outcome::Added => {}
        }
        self.unannounced = 0;
        Ok(())
    }

    /// Everything since the last report; `ids` are the parcels and their units.
    fn report(&mut self, ids: &BTreeMap<String, Vec<String>>, again: u64) -> Published {
        let mut published = std::mem::take(&mut self.counted);
        published.duplicates = again;
        for units in ids.values() {
            match units.iter().filter_map(|unit| self.fates.get(unit)).max() {
                Some(Fate::Duplicate) => published.duplicates += 1,
                Some(Fate::InDoubt) => published.in_doubt += 1,
                Some(Fate::Added) | None => published.parcels += 1,
            }
        }
        self.fates.clear();
        published
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
