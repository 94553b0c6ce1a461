//! Fleets of workers that start, die and make way for others, over one table of leases: how long until every shard is
//! read again and all have their share, and what the table costs. The rules are those of `backend::lease`; the time is
//! tokio's, paused, and the same seed gives the same result. No call fails here: `examples/simulate` does that.

mod table;
mod worker;
mod world;

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use tokio::{
    runtime,
    task::{JoinSet, LocalSet},
    time::sleep,
};

use worker::Worker;
pub(crate) use world::{Counts, Settings};
use world::{World, between};

/// How often the fleet is looked at, in milliseconds.
const LOOK_MS: u64 = 100;
/// How long a settled fleet runs before something happens: its workers know then who lives, and may steal.
const SETTLE_MS: u64 = 25_000;
/// How long the rest is measured, in milliseconds: every cut is saved four times, and every worker looks six times.
const REST_MS: u64 = 60_000;
/// Between two starts of a rolling start.
const START_EVERY_MS: u64 = 250;
/// A deploy stops so many parts of the fleet one after the other, and so long after each begins the next.
const DEPLOY_PARTS: usize = 4;
const DEPLOY_EVERY_MS: u64 = 30_000;

/// What happens to a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// All workers start at once, on an empty table.
    Start,
    /// One after the other, on an empty table.
    RollingStart,
    /// One worker says nothing any more.
    OneDies,
    /// A tenth of them does.
    TenthDies,
    /// A quarter after the other gives up what it holds, and new workers take its place.
    Deploy,
    /// As many workers again start at once.
    Double,
}

impl Scenario {
    pub(crate) const ALL: [Self; 6] =
        [Self::Start, Self::RollingStart, Self::OneDies, Self::TenthDies, Self::Deploy, Self::Double];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Start => "all start at once",
            Self::RollingStart => "four start each second",
            Self::OneDies => "one dies",
            Self::TenthDies => "a tenth dies",
            Self::Deploy => "deploy by quarters",
            Self::Double => "as many again start",
        }
    }

    /// What happens how many milliseconds after the event.
    fn steps(self, workers: usize) -> Vec<(u64, Step)> {
        match self {
            Self::Start | Self::Double => vec![(0, Step::Start(workers))],
            Self::RollingStart => {
                (0..workers as u64).map(|at| (at * START_EVERY_MS, Step::Start(1))).collect()
            }
            Self::OneDies => vec![(0, Step::Kill(1))],
            Self::TenthDies => vec![(0, Step::Kill(workers.div_ceil(10)))],
            Self::Deploy => {
                let part = workers.div_ceil(DEPLOY_PARTS);
                let count =
                    |at: u64, first: usize| (at * DEPLOY_EVERY_MS, Step::Replace(part.min(workers - first)));
                (0..).zip((0..workers).step_by(part)).map(|(at, first)| count(at, first)).collect()
            }
        }
    }

    const fn is_from_nothing(self) -> bool {
        matches!(self, Self::Start | Self::RollingStart)
    }
}

/// What happens to some workers, those that started first.
#[derive(Clone, Copy, Debug)]
enum Step {
    Start(usize),
    /// They say nothing any more.
    Kill(usize),
    /// They give up what they hold, and as many start.
    Replace(usize),
}

/// DynamoDB's units, and calls of Kinesis, in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) read_units: u64,
    pub(crate) write_units: u64,
    pub(crate) list_shards: u64,
}

/// What came of a scenario. Times are milliseconds after the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    /// Every shard is read, and no worker has two more than another; nothing if it did not come to that.
    pub(crate) balanced_ms: Option<u64>,
    /// From here on every shard is read.
    pub(crate) all_read_ms: Option<u64>,
    /// The longest time that a shard was read by nobody.
    pub(crate) longest_unread_ms: u64,
    /// The longest time that two workers read a shard; one of them can save nothing of it.
    pub(crate) longest_twice_ms: u64,
    pub(crate) at_rest: Rates,
    pub(crate) peak: Rates,
    pub(crate) counts: Counts,
    pub(crate) fewest: usize,
    pub(crate) most: usize,
    /// What must never happen.
    pub(crate) wrong: Vec<String>,
}

/// Plays a scenario.
pub(crate) fn run(scenario: Scenario, settings: &Settings) -> Outcome {
    logtally::random::seed_thread(settings.seed);
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime of one thread");
    LocalSet::new().block_on(&runtime, async {
        let mut fleet = Fleet::new(settings.clone());
        fleet.play(scenario).await
    })
}

struct Fleet {
    world: Rc<RefCell<World>>,
    workers: Vec<(Rc<Worker>, JoinSet<()>)>,
    started: u32,
    /// Workers that save and give up what they hold.
    stopping: JoinSet<()>,
}

impl Fleet {
    fn new(settings: Settings) -> Self {
        let world = Rc::new(RefCell::new(World::new(settings)));
        Self { world, workers: Vec::new(), started: 0, stopping: JoinSet::new() }
    }

    async fn play(&mut self, scenario: Scenario) -> Outcome {
        let settings = self.world.borrow().settings.clone();
        if !scenario.is_from_nothing() {
            self.settle(&settings);
            sleep(Duration::from_millis(SETTLE_MS)).await;
        }
        let event_ms = self.now_ms();
        self.world.borrow_mut().note_from_now();
        let mut steps = VecDeque::from(scenario.steps(settings.workers));
        let (mut all_read_ms, mut balanced_ms) = (None, None);
        while balanced_ms.is_none() && self.now_ms() < event_ms + settings.limit_ms {
            while let Some((_, step)) =
                steps.pop_front_if(|(after_ms, _)| event_ms + *after_ms <= self.now_ms())
            {
                self.happen(step);
            }
            let is_read = self.world.borrow().unread == 0;
            all_read_ms = all_read_ms.or(Some(self.now_ms() - event_ms)).filter(|_| is_read);
            balanced_ms = all_read_ms
                .filter(|_| steps.is_empty() && self.is_balanced())
                .map(|_| self.now_ms() - event_ms);
            sleep(Duration::from_millis(LOOK_MS)).await;
        }
        let counts = self.world.borrow().counts.clone();
        let rest_ms = self.now_ms();
        sleep(Duration::from_millis(REST_MS)).await;
        self.outcome(scenario, (event_ms, rest_ms), (all_read_ms, balanced_ms), counts)
    }

    fn happen(&mut self, step: Step) {
        match step {
            Step::Start(count) => self.start_all(count),
            Step::Kill(count) => self.kill(count),
            Step::Replace(count) => self.replace(count),
        }
    }

    /// A fleet that has long been at rest.
    fn settle(&mut self, settings: &Settings) {
        let workers: Vec<Rc<Worker>> = (0..settings.workers).map(|_| self.start(settings.lease_ms)).collect();
        for shard in 0..settings.shards {
            let worker = &workers[shard % workers.len()];
            self.world.borrow_mut().settle(shard, worker.id);
            worker.settle(shard);
        }
    }

    /// Those that start together begin at different times within the first third of a lease.
    fn start_all(&mut self, count: usize) {
        let third = self.world.borrow().settings.lease_ms / 3;
        (0..count).for_each(|_| drop(self.start(third)));
    }

    /// Starts a worker at some time within so long.
    fn start(&mut self, within_ms: u64) -> Rc<Worker> {
        let worker = Rc::new(Worker::new(self.started, &self.world));
        self.started += 1;
        let phase = Duration::from_millis(between(0, within_ms));
        let mut tasks = JoinSet::new();
        let (holding, saving) = (Rc::clone(&worker), Rc::clone(&worker));
        tasks.spawn_local(async move {
            sleep(phase).await;
            holding.hold_on().await;
        });
        tasks.spawn_local(async move {
            sleep(phase).await;
            saving.save_on().await;
        });
        self.workers.push((Rc::clone(&worker), tasks));
        worker
    }

    fn kill(&mut self, count: usize) {
        for (worker, mut tasks) in self.workers.drain(..count) {
            tasks.abort_all();
            worker.die();
        }
    }

    fn replace(&mut self, count: usize) {
        for (worker, mut tasks) in self.workers.drain(..count) {
            tasks.abort_all();
            self.stopping.spawn_local(async move { worker.stop().await });
        }
        self.start_all(count);
    }

    fn is_balanced(&self) -> bool {
        let (fewest, most) = self.loads();
        most - fewest <= 1
    }

    /// Of the workers that live, the fewest and the most shards that one reads.
    fn loads(&self) -> (usize, usize) {
        let loads = || self.workers.iter().map(|(worker, _)| worker.load());
        (loads().min().unwrap_or_default(), loads().max().unwrap_or_default())
    }

    fn now_ms(&self) -> u64 {
        self.world.borrow().now_ms()
    }

    fn outcome(
        &self,
        scenario: Scenario,
        (event_ms, rest_ms): (u64, u64),
        (all_read_ms, balanced_ms): (Option<u64>, Option<u64>),
        counts: Counts,
    ) -> Outcome {
        let (fewest, most) = self.loads();
        let world = self.world.borrow();
        let (longest_unread_ms, longest_twice_ms) = world.longest_ms();
        let (mut at_rest, mut peak) = (Rates::default(), Rates::default());
        for billed in world.table.billed().range(event_ms / 1_000..).map(|(_, billed)| billed) {
            peak.read_units = peak.read_units.max(billed.reads.div_ceil(2));
            peak.write_units = peak.write_units.max(billed.writes);
            peak.list_shards = peak.list_shards.max(billed.lists);
        }
        let (first, after) = (rest_ms.div_ceil(1_000), (rest_ms + REST_MS) / 1_000);
        for billed in world.table.billed().range(first..after).map(|(_, billed)| billed) {
            at_rest.read_units += billed.reads;
            at_rest.write_units += billed.writes;
            at_rest.list_shards += billed.lists;
        }
        at_rest.read_units /= 2;
        let seconds = (after - first).max(1);
        for sum in [&mut at_rest.read_units, &mut at_rest.write_units, &mut at_rest.list_shards] {
            *sum /= seconds;
        }
        let wrong = world.wrong.clone();
        Outcome {
            scenario,
            balanced_ms,
            all_read_ms,
            longest_unread_ms,
            longest_twice_ms,
            at_rest,
            peak,
            counts,
            fewest,
            most,
            wrong,
        }
    }
}
