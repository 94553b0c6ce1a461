//! Processes that run the real stages: started, killed, stopped, and started again, as a service manager does it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use logtally::{
    analyze::{self, AnalyzeError, StartMode},
    backend::{BackendError, Stage},
    deliver,
    engine::{
        count::{Plan, TimeSource},
        format::LogFormat,
        reference::Reference,
        time::WindowSize,
    },
    produce::{self, Input, Limits, ProduceError},
    stop::{Phase, Stop, channel},
    tail,
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::{
    backend::Ports,
    logs::FORMAT,
    process::{INJECTED, Process},
    world::World,
};

/// The longest that a process is away, in milliseconds.
pub(crate) const AWAY_MS: u64 = 20_000;

/// What a process runs, and where.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) world: Arc<World>,
    pub(crate) stage: Stage,
    pub(crate) number: usize,
    pub(crate) node: usize,
    pub(crate) logs: PathBuf,
    pub(crate) ahead_ms: Arc<AtomicI64>,
    pub(crate) reference: watch::Receiver<Arc<Reference>>,
}

/// How a run of a process ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// As it should.
    Well,
    /// Another process has the lock of its stage.
    Closed,
    /// By a fault that the simulation made.
    Injected,
    /// By something else.
    Wrong(String),
}

/// Waits for the order to come to the end.
async fn told(end: &mut watch::Receiver<Phase>) {
    // Who gives it lives as long as the fleet.
    let _ = end.wait_for(|phase| *phase > Phase::Run).await;
}

pub(crate) fn plan(world: &World) -> Arc<Plan> {
    let format = LogFormat::compile(FORMAT).expect("a format");
    let window = WindowSize::from_millis(world.plan.window_ms).expect("a size of windows");
    Arc::new(Plan { format, window, time: TimeSource::Event })
}

impl Role {
    /// Runs until `end` says how to end: again and again, unless it ends well then.
    pub(crate) async fn keep(self, end: watch::Receiver<Phase>) {
        for life in 0.. {
            let process = self.process(life);
            let name = process.name().to_owned();
            self.world.processes.lock().expect("no panic").insert(name.clone(), process.clone());
            let is_over = self.live(&process, end.clone()).await;
            self.world.processes.lock().expect("no panic").remove(&name);
            process.die();
            if is_over {
                return;
            }
            let away = self.world.lock().random.below(AWAY_MS);
            sleep(Duration::from_millis(away)).await;
        }
    }

    pub(crate) fn process(&self, life: u64) -> Process {
        let name = format!("{}-{}.{life}", self.stage.as_str(), self.number);
        Process::new(&self.world, name, self.node, &self.ahead_ms)
    }

    /// One life; whether it was the last.
    async fn live(&self, process: &Process, mut end: watch::Receiver<Phase>) -> bool {
        let (stopper, stop) = channel();
        let mut tasks = JoinSet::new();
        self.world.note(format_args!("{} starts", process.name()));
        tasks.spawn(self.clone().run(process.clone(), stop));
        let (stop_ms, kill_ms, phase) = {
            let mut state = self.world.lock();
            let mut within = |every_s: u64| {
                let never = every_s == 0 || state.is_calm;
                if never { 1_000_000_000 } else { state.random.between(1, every_s * 2_000) }
            };
            let (stop_ms, kill_ms) =
                (within(self.world.plan.weather.stop), within(self.world.plan.weather.kill));
            (stop_ms, kill_ms, [Phase::Drain, Phase::Stop][state.random.index(2)])
        };
        let mut stopping = Box::pin(sleep(Duration::from_millis(stop_ms)));
        let mut killing = Box::pin(sleep(Duration::from_millis(kill_ms)));
        // A drain that began before the end need not be the last.
        let mut is_told = false;
        loop {
            tokio::select! {
                biased;
                () = process.killed() => {
                    tasks.abort_all();
                    while tasks.join_next().await.is_some() {}
                    return false;
                }
                () = &mut killing, if !self.world.lock().is_calm => {
                    self.world.note(format_args!("{} is killed", process.name()));
                    self.world.lock().count("kill");
                    process.die();
                    tasks.abort_all();
                    while tasks.join_next().await.is_some() {}
                    return false;
                }
                Some(ended) = tasks.join_next() => {
                    let ending = ended.unwrap_or_else(|why| Ending::Wrong(why.to_string()));
                    self.world.note(format_args!("{} ends: {ending:?}", process.name()));
                    if let Ending::Wrong(why) = &ending {
                        self.world.wrong(format!("{} ended: {why}", process.name()));
                    }
                    return is_told && matches!(ending, Ending::Well);
                }
                () = told(&mut end), if stopper.subscribe().phase() == Phase::Run => {
                    is_told = true;
                    self.world.note(format_args!("{} drains at last", process.name()));
                    stopper.set(Phase::Drain);
                }
                () = &mut stopping, if stopper.subscribe().phase() == Phase::Run => {
                    self.world.note(format_args!("{} is told to {phase:?}", process.name()));
                    self.world.lock().count("stop");
                    stopper.set(phase);
                }
            }
        }
    }

    pub(crate) async fn run(self, process: Process, stop: Stop) -> Ending {
        let ports = Ports(process.clone());
        match self.stage {
            Stage::Produce => {
                let ended = produce::run(&ports, self.produce(&process), stop).await;
                ended.map_or_else(
                    |error| match error {
                        ProduceError::Backend(error) => Ending::of(&error),
                        error => Ending::Wrong(error.to_string()),
                    },
                    |()| Ending::Well,
                )
            }
            Stage::Analyze => {
                let ended = analyze::run(&ports, self.analyze(&process), stop).await;
                ended.map_or_else(
                    |error| match error {
                        AnalyzeError::Backend(error) => Ending::of(&error),
                        error => Ending::Wrong(error.to_string()),
                    },
                    |()| Ending::Well,
                )
            }
            Stage::Deliver => {
                deliver::run(&ports, stop).await.map_or_else(|error| Ending::of(&error), |()| Ending::Well)
            }
        }
    }

    fn produce(&self, process: &Process) -> produce::Settings {
        let pattern = self.logs.join("access.log*").to_string_lossy().into_owned();
        let files = tail::Settings {
            refresh_ms: self.world.plan.refresh_ms,
            watch: false,
            ..tail::Settings::new(vec![pattern])
        };
        let age_ms = self.world.plan.record_age_ms;
        // Some lives have records of a few lines.
        let (bytes, lines) = if age_ms % 8 == 5 { (300, 3) } else { (512 * 1_024, 10_000) };
        let limits = Limits { bytes, lines, age_ms };
        produce::Settings { input: Input::Files(files), limits, clock: process.clock() }
    }

    fn analyze(&self, process: &Process) -> analyze::Settings {
        let plan = &self.world.plan;
        analyze::Settings {
            pipeline: "simulated".to_owned(),
            plan: self::plan(&self.world),
            reference: self.reference.clone(),
            allowed_lateness_ms: plan.lateness_ms,
            correction_interval_ms: plan.correction_ms,
            checkpoint_interval_ms: plan.checkpoint_ms,
            top_hosts: 3,
            from: StartMode::LastStoppedPoint,
            recount: false,
            accept_loss: false,
            first_epoch: u64::try_from(process.now().as_millis()).unwrap_or_default(),
            board: Arc::default(),
        }
    }

    /// What the node's clock is ahead by.
    pub(crate) fn jump(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }
}

impl Ending {
    fn of(error: &BackendError) -> Self {
        let why = error.to_string();
        match error {
            _ if why.contains(INJECTED) => Self::Injected,
            BackendError::Closed { .. } => Self::Closed,
            // It was told to, and waited for a service.
            BackendError::Stopped { .. } => Self::Injected,
            _ => Self::Wrong(why),
        }
    }
}
