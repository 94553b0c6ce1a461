//! How a stage is told to end. Listens to no signal itself.

use tokio::sync::watch;

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
pub struct Stop(watch::Receiver<Phase>);

/// The sending end: its phases only go forward. Dropped, it says [`Phase::Stop`].
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<Phase>);

/// A pair, starting with [`Phase::Run`].
#[must_use]
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Phase::Run);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Moves on to `phase`, never back.
    pub fn set(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    /// Another receiving end.
    #[must_use]
    pub fn subscribe(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Stop {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.0.has_changed().is_err() { Phase::Stop } else { *self.0.borrow() }
    }

    /// Waits for `phase` or a later one. Cancel-safe.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the sender is gone, which is a stop.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}
