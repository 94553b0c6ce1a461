//! One process: where it may die, stand still, or lose the answer to a call. Knows no service.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use logtally::{
    backend::{BackendError, Result},
    clock::Clock,
    engine::time::Timestamp,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use super::world::{State, World};

/// A process of a node, from its start to its end.
#[derive(Clone, Debug)]
pub(crate) struct Process(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    world: Arc<World>,
    name: String,
    node: usize,
    /// What the node's clock is ahead by, in milliseconds.
    ahead_ms: Arc<AtomicI64>,
    dead: AtomicBool,
    killed: Notify,
    /// Stands still until then, in milliseconds of the world's time.
    frozen: AtomicI64,
}

/// Marks errors that the simulation made.
pub(crate) const INJECTED: &str = "injected";

pub(crate) fn busy(what: &str) -> BackendError {
    BackendError::Busy { why: format!("{what}: {INJECTED}") }
}

pub(crate) fn failed(what: &str) -> BackendError {
    BackendError::Failed { what: format!("{what}: {INJECTED}"), source: None }
}

/// What becomes of a call.
enum Fate {
    Made,
    Twice,
    Busy,
    Failed { made: bool },
    Lost,
    Late(Duration),
}

impl Process {
    pub(crate) fn new(world: &Arc<World>, name: String, node: usize, ahead_ms: &Arc<AtomicI64>) -> Self {
        Self(Arc::new(Inner {
            world: Arc::clone(world),
            name,
            node,
            ahead_ms: Arc::clone(ahead_ms),
            dead: AtomicBool::new(false),
            killed: Notify::new(),
            frozen: AtomicI64::new(0),
        }))
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.0.world
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn node(&self) -> usize {
        self.0.node
    }

    /// The time of day as the node's clock shows it.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.world.now().plus_millis(self.0.ahead_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn clock(&self) -> Clock {
        let process = self.clone();
        Clock::from_fn(move || process.now())
    }

    /// Ends when the process is to die.
    pub(crate) async fn killed(&self) {
        self.0.killed.notified().await;
    }

    /// Does nothing more from now on.
    pub(crate) fn die(&self) {
        self.0.dead.store(true, Ordering::Relaxed);
    }

    /// Stands still for so long.
    pub(crate) fn freeze(&self, millis: u64) {
        let until = self.0.world.now().plus_millis(i64::try_from(millis).unwrap_or_default());
        self.0.frozen.fetch_max(until.as_millis(), Ordering::Relaxed);
        self.0.world.note(format_args!("{} stands still for {millis} ms", self.0.name));
    }

    /// A point where everything can happen to the process.
    pub(crate) async fn pause(&self, what: &'static str) {
        let (dies, freezes, wait_ms) = {
            let mut state = self.0.world.lock();
            let dies = state.happens("crash", |rates| rates.crash);
            let freezes = state.happens("freeze", |rates| rates.freeze);
            let slow = state.happens("slow", |rates| rates.slow);
            let wait_ms = match (slow, state.is_calm) {
                (true, _) => state.random.between(100, 30_000),
                (false, false) => [0, 0, 0, 1, 2, 7, 40][state.random.index(7)],
                (false, true) => state.random.below(2),
            };
            (dies, freezes, wait_ms)
        };
        if dies {
            self.0.world.note(format_args!("{} dies at {what}", self.0.name));
            self.die();
            self.0.killed.notify_one();
        }
        if freezes {
            let lease_ms = self.0.world.plan.lease_ms;
            let millis = self.0.world.lock().random.between(lease_ms, lease_ms * 5);
            self.freeze(millis);
        }
        if wait_ms > 0 {
            sleep(Duration::from_millis(wait_ms)).await;
        }
        loop {
            if self.0.dead.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            let still = self.0.frozen.load(Ordering::Relaxed) - self.0.world.now().as_millis();
            let Some(still) = u64::try_from(still).ok().filter(|&still| still > 0) else { return };
            sleep_until(Instant::now() + Duration::from_millis(still)).await;
        }
    }

    /// A call to a service with one atomic effect.
    pub(crate) async fn call<T>(
        &self,
        what: &'static str,
        mut effect: impl FnMut(&mut State) -> T + Send + 'static,
    ) -> Result<T> {
        self.pause(what).await;
        let fate = self.fate();
        let world = &self.0.world;
        let made = |state: &mut State, how: &str, name: &str| {
            state.trace.note(format_args!("{name} {what}{how}"));
        };
        let name = self.0.name.clone();
        let outcome = match fate {
            Fate::Busy => Err(busy(what)),
            Fate::Failed { made: false } => Err(failed(what)),
            Fate::Failed { made: true } => {
                let state = &mut *world.lock();
                effect(state);
                made(state, " (failed, but made)", &name);
                Err(failed(what))
            }
            Fate::Made => {
                let state = &mut *world.lock();
                made(state, "", &name);
                Ok(effect(state))
            }
            Fate::Twice => {
                let state = &mut *world.lock();
                made(state, " (twice)", &name);
                effect(state);
                Ok(effect(state))
            }
            Fate::Lost => {
                let state = &mut *world.lock();
                made(state, " (answer lost)", &name);
                effect(state);
                Err(busy(what))
            }
            Fate::Late(after) => {
                world.later(after, move |state| {
                    state.trace.note(format_args!("{name} {what} (late)"));
                    effect(state);
                });
                Err(busy(what))
            }
        };
        self.pause(what).await;
        outcome
    }

    fn fate(&self) -> Fate {
        let mut state = self.0.world.lock();
        if state.happens("busy", |rates| rates.busy) {
            Fate::Busy
        } else if state.happens("failed", |rates| rates.failed) {
            // What a transaction fails with was not made.
            let may_be_made = self.0.world.kind == super::rates::Kind::Aws;
            Fate::Failed { made: may_be_made && state.random.below(2) == 0 }
        } else if state.happens("answer lost", |rates| rates.lost) {
            Fate::Lost
        } else if state.happens("late", |rates| rates.late) {
            Fate::Late(Duration::from_millis(state.random.between(1, 40_000)))
        } else if state.happens("twice", |rates| rates.twice) {
            Fate::Twice
        } else {
            Fate::Made
        }
    }
}
