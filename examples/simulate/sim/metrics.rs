//! Sinks of metrics: one transaction with the ids of the parcels, or calls that are claimed, made once, and in doubt if
//! their answer is lost. Judges nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use logtally::{
    backend::{Datum, MetricSink, Parcel, Published, Result},
    engine::time::Timestamp,
};

use super::{
    ledger::{Standing, is_fresh},
    process::{Process, busy, failed},
    rates::Kind,
    world::State,
};

/// What became of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Duplicate,
    Added,
    InDoubt,
}

type Unit = (String, Vec<Datum>);

#[derive(Debug)]
pub(crate) struct Metrics {
    process: Process,
    fates: BTreeMap<String, Fate>,
    /// Claims that may stand, of calls that were certainly not sent.
    unsent: Vec<u64>,
    /// Claims of which the ledger does not say yet what came of them.
    unmarked: Vec<(u64, Standing)>,
}

impl Metrics {
    pub(crate) const fn new(process: Process) -> Self {
        Self { process, fates: BTreeMap::new(), unsent: Vec::new(), unmarked: Vec::new() }
    }

    /// Adds parcels and remembers them, in one transaction.
    async fn add_at_once(&self, parcels: Arc<[Parcel]>) -> Result<Published> {
        let add = move |state: &mut State| {
            let mut published = Published::default();
            for parcel in parcels.iter() {
                if state.published.insert(parcel.id.clone()) {
                    state.add(&parcel.datums);
                    published.parcels += 1;
                } else {
                    state.count("parcel again");
                    published.duplicates += 1;
                }
            }
            published
        };
        self.process.call("publish", add).await
    }

    async fn clear(&mut self) -> Result<()> {
        while let Some(&claim) = self.unsent.last() {
            self.process.call("give back a claim", move |state| state.ledger.release(claim)).await?;
            self.unsent.pop();
        }
        while let Some(&(claim, standing)) = self.unmarked.last() {
            let enter = move |state: &mut State| state.ledger.enter(claim, standing);
            self.process.call("enter a call", enter).await?;
            self.unmarked.pop();
        }
        Ok(())
    }

    /// Claims and sends one call, or finds out about what was claimed before.
    async fn step(&mut self, waiting: &mut VecDeque<Unit>) -> Result<()> {
        let (key, taken) = {
            let mut state = self.process.world().lock();
            let taken = 1 + state.random.index(waiting.len());
            (state.random.next(), waiting.drain(..taken).collect::<Vec<Unit>>())
        };
        let at = self.process.now();
        let units = taken.clone();
        let claim = move |state: &mut State| state.ledger.claim(key, at, &units);
        let known = match self.process.call("claim", claim).await {
            Ok(known) => known,
            Err(error) => {
                self.unsent.push(key);
                return Err(error);
            }
        };
        if known.is_empty() {
            return self.send(key, at, taken).await;
        }
        for unit in taken.into_iter().rev() {
            waiting.push_front(unit);
        }
        self.look_up(known).await?;
        waiting.retain(|(id, _)| !self.fates.contains_key(id));
        Ok(())
    }

    async fn send(&mut self, key: u64, at: Timestamp, units: Vec<Unit>) -> Result<()> {
        if !is_fresh(at, self.process.now()) {
            self.unsent.push(key);
            return Err(busy("claiming took too long"));
        }
        // What is on its way when the process dies may arrive or not: either side of the pauses.
        self.process.pause("PutMetricData").await;
        let fate = {
            let world = self.process.world();
            let state = &mut *world.lock();
            if state.happens("metrics refused", |rates| rates.busy) {
                None
            } else if state.happens("metrics in doubt", |rates| rates.lost + rates.late) {
                match state.random.below(3) {
                    0 => {}
                    1 => state.add_call(key),
                    _ => {
                        let after = Duration::from_millis(state.random.between(1, 40_000));
                        world.later(after, move |state| state.add_call(key));
                    }
                }
                Some(Fate::InDoubt)
            } else {
                state.add_call(key);
                Some(Fate::Added)
            }
        };
        self.process.pause("PutMetricData answered").await;
        match fate {
            None => {
                self.unsent.push(key);
                return Err(busy("PutMetricData"));
            }
            Some(Fate::InDoubt) => self.unmarked.push((key, Standing::Doubt)),
            Some(Fate::Added | Fate::Duplicate) => self.unmarked.push((key, Standing::Done)),
        }
        self.fates.extend(units.into_iter().map(|(id, _)| (id, fate.unwrap_or(Fate::Added))));
        Ok(())
    }

    async fn calls_of(&self, parcels: Vec<String>) -> Result<BTreeMap<String, u64>> {
        let look = move |state: &mut State| {
            let claimed = parcels.iter().filter_map(|id| Some((id.clone(), *state.ledger.parcels.get(id)?)));
            claimed.collect()
        };
        self.process.call("look at parcels", look).await
    }

    /// Finds out what became of parcels that were claimed before.
    async fn look_up(&mut self, known: Vec<String>) -> Result<()> {
        let calls = self.calls_of(known).await?;
        let (now, keys) = (self.process.now(), calls.clone());
        let look = move |state: &mut State| {
            let mut fates = BTreeMap::new();
            for (id, key) in &keys {
                let Some(call) = state.ledger.calls.get_mut(key) else { continue };
                let fate = match call.standing {
                    Standing::Done => Some(Fate::Duplicate),
                    Standing::Doubt => Some(Fate::InDoubt),
                    Standing::Claimed if call.is_stale(now) => {
                        call.standing = Standing::Doubt;
                        Some(Fate::InDoubt)
                    }
                    Standing::Claimed => None,
                };
                fates.insert(id.clone(), fate);
            }
            let again = fates.values().filter(|fate| **fate == Some(Fate::Duplicate)).count();
            *state.counts.entry("parcel again").or_default() += again as u64;
            fates
        };
        let mut fates = self.process.call("look at calls", look).await?;
        let gone: BTreeMap<String, u64> =
            calls.into_iter().filter(|(id, _)| !fates.contains_key(id)).collect();
        if !gone.is_empty() {
            self.process.world().lock().count("claim given back between two looks");
            let still = self.calls_of(gone.keys().cloned().collect()).await?;
            let past = still.into_iter().filter(|(id, key)| gone.get(id) == Some(key));
            fates.extend(past.map(|(id, _)| (id, Some(Fate::Duplicate))));
        }
        let is_open = fates.iter().any(|(_, fate)| fate.is_none());
        self.fates.extend(fates.into_iter().filter_map(|(id, fate)| Some((id, fate?))));
        if is_open { Err(busy("another worker claimed parcels")) } else { Ok(()) }
    }
}

impl State {
    /// The metrics take a call.
    fn add_call(&mut self, key: u64) {
        let Some(call) = self.ledger.calls.get_mut(&key) else {
            self.wrong.push(format!("call {key} was given back, and sent"));
            return;
        };
        call.added += 1;
        if call.added > 1 {
            self.wrong.push(format!("call {key} was made twice"));
        }
        let datums = call.datums.clone();
        self.trace.note(format_args!("  the metrics take {} datums of call {key:x}", datums.len()));
        self.add(&datums);
    }

    /// Reads the metrics back: calls that they lack are made, and none is in doubt any more.
    pub(crate) fn settle(&mut self) {
        let missing: Vec<u64> =
            self.ledger.calls.iter().filter(|(_, call)| call.added == 0).map(|(&key, _)| key).collect();
        for key in missing {
            if self.ledger.calls.get(&key).is_some_and(|call| call.standing == Standing::Done) {
                self.wrong.push(format!("call {key} is done, and was never made"));
            }
            self.add_call(key);
            self.count("call settled");
        }
    }
}

impl MetricSink for Metrics {
    async fn publish(&mut self, parcels: Arc<[Parcel]>) -> Result<Published> {
        if self.process.world().kind == Kind::Embedded {
            return self.add_at_once(parcels).await;
        }
        if self.process.world().lock().happens("failed", |rates| rates.failed) {
            return Err(failed("publish"));
        }
        let units: BTreeMap<String, Vec<Datum>> = parcels
            .iter()
            .filter(|parcel| !parcel.datums.is_empty())
            .map(|parcel| (parcel.id.clone(), parcel.datums.clone()))
            .collect();
        let known = |id: &String| self.fates.contains_key(id);
        let mut waiting: VecDeque<Unit> = units.into_iter().filter(|(id, _)| !known(id)).collect();
        while !waiting.is_empty() {
            self.clear().await?;
            self.step(&mut waiting).await?;
        }
        self.clear().await?;
        let mut published = Published::default();
        for fate in std::mem::take(&mut self.fates).into_values() {
            match fate {
                Fate::Duplicate => published.duplicates += 1,
                Fate::Added => published.parcels += 1,
                Fate::InDoubt => published.in_doubt += 1,
            }
        }
        Ok(published)
    }
}
