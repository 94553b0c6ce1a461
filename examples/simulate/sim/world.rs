//! What all processes share: the services' state, the time, the faults, the trace. Runs nothing by itself but effects
//! that come late.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use logtally::{
    backend::{Checkpoint, Datum, Series, ShardId, Stage},
    engine::time::Timestamp,
};
use tokio::{task::JoinSet, time::Instant};

use super::{
    ledger::Ledger,
    process::Process,
    random::Random,
    rates::{Kind, Plan, Rates},
    shards::Shards,
    table::Table,
};

/// Noon of some day; seeds begin up to a day later.
const BEGIN_MS: i64 = 1_800_000_000_000;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) plan: Plan,
    began: Instant,
    base: Timestamp,
    /// What was passed over at once, in milliseconds.
    skipped_ms: AtomicI64,
    state: Mutex<State>,
    late: Mutex<JoinSet<()>>,
    /// Those that run, by name.
    pub(crate) processes: Mutex<BTreeMap<String, Process>>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) random: Random,
    pub(crate) rates: Rates,
    pub(crate) trace: Trace,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// What must never be, and was.
    pub(crate) wrong: Vec<String>,
    pub(crate) input: Shards,
    pub(crate) output: Shards,
    /// By node and generation.
    pub(crate) sources: BTreeMap<(usize, u64), Vec<u8>>,
    /// Who has the lock of a stage on a node.
    pub(crate) locks: BTreeSet<(&'static str, usize)>,
    pub(crate) cuts: BTreeMap<(&'static str, ShardId), Checkpoint>,
    pub(crate) leases: Table,
    pub(crate) metrics: BTreeMap<(Series, Timestamp), f64>,
    /// Ids of parcels that the embedded sink has published.
    pub(crate) published: BTreeSet<String>,
    pub(crate) ledger: Ledger,
    /// Every whole line that any file ever held.
    pub(crate) written: Vec<u8>,
    pub(crate) last_stamp: i64,
    /// Of the lines that are stamped far ahead.
    pub(crate) last_far: i64,
    /// How far any shard was ever said to be complete.
    pub(crate) complete_to: Timestamp,
    /// Hosts that lines may name now.
    pub(crate) hosts: Vec<String>,
    pub(crate) is_calm: bool,
}

impl World {
    pub(crate) fn new(kind: Kind, plan: Plan, mut random: Random, keeps_trace: bool) -> Arc<Self> {
        let base = BEGIN_MS + i64::try_from(random.below(86_400_000)).unwrap_or_default();
        let began = Instant::now();
        let state = State {
            rates: plan.rates.clone(),
            trace: Trace::new(began, keeps_trace),
            counts: BTreeMap::new(),
            wrong: Vec::new(),
            input: Shards::new(plan.shards[0]),
            output: Shards::new(plan.shards[1]),
            sources: BTreeMap::new(),
            locks: BTreeSet::new(),
            cuts: BTreeMap::new(),
            leases: Table::default(),
            metrics: BTreeMap::new(),
            published: BTreeSet::new(),
            ledger: Ledger::default(),
            written: Vec::new(),
            last_stamp: 0,
            last_far: 0,
            complete_to: Timestamp::MIN,
            hosts: Vec::new(),
            is_calm: false,
            random,
        };
        Arc::new(Self {
            kind,
            plan,
            began,
            base: Timestamp::from_millis(base),
            skipped_ms: AtomicI64::new(0),
            state: Mutex::new(state),
            late: Mutex::default(),
            processes: Mutex::default(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The true time, which no node's clock need show.
    pub(crate) fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.base.plus_millis(passed).plus_millis(self.skipped_ms.load(Ordering::Relaxed))
    }

    /// All clocks go on by so much at once, as where every machine was suspended.
    pub(crate) fn skip(&self, millis: i64) {
        self.skipped_ms.fetch_add(millis, Ordering::Relaxed);
        let state = &mut *self.lock();
        state.count("all clocks skip");
        state.trace.note(format_args!("all clocks go on by {millis} ms at once"));
    }

    /// Makes `effect` after a while, whatever becomes of who asked for it.
    pub(crate) fn later(self: &Arc<Self>, after: Duration, effect: impl FnOnce(&mut State) + Send + 'static) {
        let world = Arc::clone(self);
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.spawn(async move {
            tokio::time::sleep(after).await;
            effect(&mut world.lock());
        });
    }

    /// Waits for everything that comes late.
    pub(crate) async fn settled(&self) {
        let mut late = std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner));
        while late.join_next().await.is_some() {}
    }

    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        self.lock().trace.note(what);
    }

    /// No further fault.
    pub(crate) fn calm(&self) {
        let mut state = self.lock();
        state.is_calm = true;
        state.rates = Rates::default();
        state.trace.note(format_args!("calm"));
    }

    pub(crate) fn wrong(&self, what: String) {
        self.lock().wrong.push(what);
    }
}

impl State {
    /// A fault of this kind happened.
    pub(crate) fn count(&mut self, fault: &'static str) {
        *self.counts.entry(fault).or_default() += 1;
    }

    /// Whether a fault of this kind happened.
    pub(crate) fn has_counted(&self, fault: &'static str) -> bool {
        self.counts.contains_key(fault)
    }

    /// Whether a fault of this kind happens now.
    pub(crate) fn happens(&mut self, fault: &'static str, rate: impl Fn(&Rates) -> u64) -> bool {
        let happens = self.random.chance(rate(&self.rates));
        if happens {
            self.count(fault);
        }
        happens
    }

    pub(crate) fn add(&mut self, datums: &[Datum]) {
        for datum in datums {
            *self.metrics.entry((datum.series.clone(), datum.timestamp)).or_default() += datum.value;
        }
    }
}

pub(crate) const fn word(stage: Stage) -> &'static str {
    stage.as_str()
}

/// Everything that happened, as a hash; as lines where somebody wants to read them.
#[derive(Debug)]
pub(crate) struct Trace {
    began: Instant,
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    const fn new(began: Instant, keeps_lines: bool) -> Self {
        let lines = if keeps_lines { Some(Vec::new()) } else { None };
        Self { began, hash: 0, lines }
    }

    pub(crate) fn note(&mut self, what: fmt::Arguments<'_>) {
        let line = format!("{:>9} {what}", self.began.elapsed().as_millis());
        let mut hasher = DefaultHasher::new();
        (self.hash, &line).hash(&mut hasher);
        self.hash = hasher.finish();
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}
