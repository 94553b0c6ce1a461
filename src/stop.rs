//! How a stage is told to end. Listens to no signal itself.
//!
//! Those who wait are woken in the order in which they began to: tokio's `watch` would leave that to chance.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// What a stage is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Go on.
    Run,
    /// Process what is there now, then end.
    Drain,
    /// Save where you are, then end.
    Stop,
}

/// The receiving end: one for each stage.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Told>);

/// The sending end: its phases only go forward. Dropped, it says [`Phase::Stop`].
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Teller>);

/// What all clones of a [`Stopper`] share; the last of them says the last word.
#[derive(Debug)]
struct Teller(Arc<Told>);

/// What was said last.
#[derive(Debug)]
struct Told {
    phase: Mutex<Phase>,
    changed: Notify,
}

/// A pair, starting with [`Phase::Run`].
#[must_use]
pub fn channel() -> (Stopper, Stop) {
    let told = Arc::new(Told { phase: Mutex::new(Phase::Run), changed: Notify::new() });
    (Stopper(Arc::new(Teller(Arc::clone(&told)))), Stop(told))
}

impl Told {
    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        let mut now = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if phase > *now {
            *now = phase;
            drop(now);
            self.changed.notify_waiters();
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.set(Phase::Stop);
    }
}

impl Stopper {
    /// Moves on to `phase`, never back.
    pub fn set(&self, phase: Phase) {
        self.0.0.set(phase);
    }

    /// Another receiving end.
    #[must_use]
    pub fn subscribe(&self) -> Stop {
        Stop(Arc::clone(&self.0.0))
    }
}

impl Stop {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }

    /// Waits for `phase` or a later one. Cancel-safe.
    pub async fn reached(&mut self, phase: Phase) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.phase() >= phase {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn phases_go_forward_and_the_last_word_is_stop() {
        let (stopper, mut stop) = channel();
        let other = stopper.clone();
        stopper.set(Phase::Drain);
        stopper.set(Phase::Run);
        stop.reached(Phase::Drain).await;
        drop(stopper);
        assert_eq!(stop.phase(), Phase::Drain);
        drop(other);
        stop.reached(Phase::Stop).await;
    }

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_began() {
        let (stopper, stop) = channel();
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for number in 0..50 {
            let (mut stop, woken) = (stop.clone(), Arc::clone(&woken));
            tasks.spawn(async move {
                stop.reached(Phase::Drain).await;
                woken.lock().unwrap().push(number);
            });
        }
        tokio::task::yield_now().await;
        stopper.set(Phase::Drain);
        tasks.join_all().await;
        assert_eq!(*woken.lock().unwrap(), (0..50).collect::<Vec<_>>());
    }
}
