//! One seed, one life of the pipeline: the real stages in one thread over services in memory, with faults everywhere,
//! judged by the engine straight over the same lines. No network, no second thread, no time but its own.
//!
//! Everything follows from the seed: the time is tokio's, paused, the scheduler is its one-threaded one, and every
//! random number is drawn from the seed. The files are real ones, in a directory of their own.

mod backend;
mod chaos;
mod checkpoints;
mod leases;
mod ledger;
mod logs;
mod metrics;
mod oracle;
mod process;
mod random;
mod rates;
mod shards;
mod stages;
mod streams;
mod table;
mod world;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use logtally::{
    backend::Stage,
    engine::{reference::Reference, settings::AHEAD_MS, time::Timestamp},
    stop::Phase,
};
use tempfile::TempDir;
use tokio::{
    runtime::Builder,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use chaos::Hosts;
use logs::Log;
use random::Random;
use rates::Plan;
use stages::{AWAY_MS, Role};
use world::World;

pub(crate) use rates::Kind;

/// The longest that a stage may take to come to its end once the faults have ceased.
const PATIENCE: Duration = Duration::from_mins(10);

/// How much of the wait for the last windows passes as time does; what is longer passes at once, in milliseconds.
const AWAKE_MS: i64 = 15 * 60_000;
/// What is counted where a life ends although the mark of a shard is ahead of all clocks.
const ENDED_EARLY: &str = "end before the clock that was ahead";

/// What came of a seed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    /// What must not be; empty if all is well.
    pub(crate) wrong: Vec<String>,
    /// Of the trace.
    pub(crate) hash: u64,
    /// What happened, where it was asked for.
    pub(crate) trace: Vec<String>,
    /// How often each kind of fault happened.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) lines: u64,
}

impl Outcome {
    /// The command that runs it again, and what was wrong.
    pub(crate) fn complaint(&self) -> String {
        format!(
            "cargo run --release --no-default-features --example simulate -- --backend {} --seed {}: {}",
            self.kind.as_str(),
            self.seed,
            self.wrong.iter().take(5).cloned().collect::<Vec<_>>().join("; ")
        )
    }
}

/// Runs one seed, in this thread.
pub(crate) fn run(kind: Kind, seed: u64, keeps_trace: bool) -> Outcome {
    let mut random = Random::new(seed ^ (kind as u64) << 63);
    logtally::random::seed_thread(random.next());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime of one thread");
    let root = directory();
    let (world, wrong) = runtime.block_on(simulate(kind, random, keeps_trace, root.path()));
    drop(runtime);
    let state = &mut *world.lock();
    Outcome {
        kind,
        seed,
        wrong,
        hash: state.trace.hash(),
        trace: state.trace.take_lines(),
        counts: std::mem::take(&mut state.counts),
        lines: state.lines(),
    }
}

/// In memory where that can be had: nothing here is to outlive a power cut.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory for logs")
}

/// The fleet, and how each stage is told to come to its end.
struct Fleet {
    roles: Vec<Role>,
    stages: Vec<(Stage, Vec<watch::Sender<Phase>>, JoinSet<()>)>,
}

async fn simulate(
    kind: Kind,
    mut random: Random,
    keeps_trace: bool,
    root: &Path,
) -> (Arc<World>, Vec<String>) {
    let plan = Plan::draw(&mut random, kind);
    let world = World::new(kind, plan, random, keeps_trace);
    world.note(format_args!("{:?}", world.plan));
    let hosts = Hosts::new();
    world.lock().hosts = hosts.known();
    let (reference, in_force) = watch::channel(hosts.reference());
    let fleet = Fleet::start(&world, root, &in_force);
    let mut logs = JoinSet::new();
    let end = world.now().plus_millis(i64::try_from(world.plan.storm_s * 1_000).unwrap_or_default());
    for node in 0..world.plan.nodes {
        logs.spawn(Log::new(Arc::clone(&world), node, root.join(node.to_string())).keep(end));
    }
    let weather = chaos::weather(&world, &fleet.roles, reference);
    let logs = logs.join_all().await;
    drop(weather);
    world.calm();
    fleet.roles.iter().for_each(|role| role.jump(0));
    // Processes come back, and compressed logs are read once they rest.
    sleep(Duration::from_millis(AWAY_MS + 10_000 + world.plan.refresh_ms * 4)).await;
    for mut log in logs {
        log.write();
    }
    let ended = fleet.end(&world).await;
    let mut wrong = match ended {
        Ok(()) => Vec::new(),
        Err(stage) => vec![format!("{} did not come to its end in {PATIENCE:?}", stage.as_str())],
    };
    let reference: Arc<Reference> = in_force.borrow().clone();
    wrong.append(&mut oracle::judge(&world, reference));
    (world, wrong)
}

impl Fleet {
    fn start(world: &Arc<World>, root: &Path, reference: &watch::Receiver<Arc<Reference>>) -> Self {
        let plan = &world.plan;
        let mut roles = Vec::new();
        let mut stages = Vec::new();
        let parts =
            [(Stage::Produce, plan.nodes), (Stage::Analyze, plan.workers), (Stage::Deliver, plan.workers)];
        for (stage, count) in parts {
            let (mut senders, mut tasks) = (Vec::new(), JoinSet::new());
            for number in 0..count {
                let logs = root.join(number.to_string());
                std::fs::create_dir_all(&logs).expect("a directory for logs");
                let role = Role {
                    world: Arc::clone(world),
                    stage,
                    number,
                    // With leases the place of a worker does not matter.
                    node: number,
                    logs,
                    ahead_ms: Arc::new(AtomicI64::new(0)),
                    reference: reference.clone(),
                };
                // One each: a channel wakes several receivers in an order of its own.
                let (sender, end) = watch::channel(Phase::Run);
                tasks.spawn(role.clone().keep(end));
                senders.push(sender);
                roles.push(role);
            }
            stages.push((stage, senders, tasks));
        }
        Self { roles, stages }
    }

    /// Lets everything come to its end: stage by stage, and windows in their time.
    async fn end(self, world: &Arc<World>) -> Result<(), Stage> {
        for (stage, senders, mut tasks) in self.stages {
            if stage == Stage::Analyze {
                world.settled().await;
                wait_for_windows(world).await;
            }
            for sender in &senders {
                sender.send_replace(Phase::Drain);
            }
            let all = async { while tasks.join_next().await.is_some() {} };
            timeout(PATIENCE, all).await.map_err(|_| stage)?;
            world.settled().await;
        }
        world.lock().settle();
        Ok(())
    }
}

/// Until every window is over that a line was stamped in. Where clocks were ahead, sometimes also until the others are
/// there, and sometimes the end comes before that.
async fn wait_for_windows(world: &World) {
    let plan = &world.plan;
    let over_after = 2 * plan.window_ms + plan.lateness_ms + plan.correction_ms + 30_000;
    let (now, ahead, last, far) = {
        let state = &mut *world.lock();
        let last = world.now().max(Timestamp::from_millis(state.last_stamp));
        (world.now(), state.complete_to, last, Timestamp::from_millis(state.last_far))
    };
    let last = if ahead.millis_since(now) <= AWAKE_MS || world.lock().random.below(4) == 0 {
        last.max(ahead)
    } else {
        world.lock().count(ENDED_EARLY);
        last
    };
    // What is stamped far ahead has no window, unless a clock was as far, or is when the line is read at last.
    let reached = ahead.max(last.plus_millis(2 * over_after));
    let has_window = reached >= far.plus_millis(-AHEAD_MS - plan.window_ms);
    let over = if has_window { last.max(far) } else { last }.plus_millis(over_after);
    let skipped = over.millis_since(now) - AWAKE_MS;
    if skipped > 0 {
        world.skip(skipped);
    }
    let wait = over.millis_since(world.now());
    sleep(Duration::from_millis(u64::try_from(wait).unwrap_or_default())).await;
}
