//! SIGTERM, SIGINT and SIGHUP. Stops nothing itself, but for the second signal, which ends the process.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

/// The signals of this process. While it lives, SIGTERM and SIGINT ask for a drain, a second one of either exits at
/// once with 128 and its number, and SIGHUP asks for a reload.
///
/// Commands that are not services leave the signals alone, so that the first one ends them.
pub struct Signals {
    stopping: watch::Receiver<bool>,
    reloads: watch::Receiver<u64>,
    _listeners: JoinSet<()>,
}

/// Waits for SIGHUP. Signals that come while nobody waits are one.
#[derive(Clone)]
pub struct Reloads(watch::Receiver<u64>);

impl Signals {
    /// Takes over the signals.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn install() -> io::Result<Self> {
        Self::with_exit(|code| std::process::exit(code))
    }

    fn with_exit(exit: impl Fn(i32) + Send + 'static) -> io::Result<Self> {
        let (stop, stopping) = watch::channel(false);
        let (reload, reloads) = watch::channel(0);
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let hang_up = signal(SignalKind::hangup())?;
        let mut listeners = JoinSet::new();
        listeners.spawn(stop_on(terminate, interrupt, stop, exit));
        listeners.spawn(reload_on(hang_up, reload));
        Ok(Self { stopping, reloads, _listeners: listeners })
    }

    /// Ends when a drain was asked for, also if that was before the call. Any number of stages may wait.
    pub fn shutdown(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stopping.clone();
        async move {
            // An error means that the listeners are gone with `Signals`: then nobody runs the stages either.
            drop(stopping.wait_for(|stopping| *stopping).await);
        }
    }

    /// The requests to reload from now on.
    #[must_use]
    pub fn reloads(&self) -> Reloads {
        let mut reloads = self.reloads.clone();
        reloads.mark_unchanged();
        Reloads(reloads)
    }
}

impl Reloads {
    /// Ends at the next request to reload; never, once the [`Signals`] are gone. Cancel-safe.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn stop_on(
    mut terminate: Signal,
    mut interrupt: Signal,
    stop: watch::Sender<bool>,
    exit: impl Fn(i32),
) {
    loop {
        let number = tokio::select! {
            Some(()) = terminate.recv() => SignalKind::terminate().as_raw_value(),
            Some(()) = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            else => return,
        };
        if stop.send_replace(true) {
            exit(128 + number);
        } else {
            tracing::info!("stopping: finishing what is in hand; a second signal exits at once");
        }
    }
}

async fn reload_on(mut hang_up: Signal, reload: watch::Sender<u64>) {
    while hang_up.recv().await.is_some() {
        reload.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};
    use tokio::sync::mpsc;

    use super::*;

    /// One test, because signals belong to the whole process.
    #[tokio::test]
    async fn the_first_signal_drains_the_second_exits_and_sighup_reloads() {
        let (exits, mut exited) = mpsc::unbounded_channel();
        let signals = Signals::with_exit(move |code| exits.send(code).unwrap()).unwrap();
        let mut reloads = signals.reloads();
        let send = |signal| kill_process(getpid(), signal).unwrap();

        send(Signal::HUP);
        reloads.next().await;

        let early = signals.shutdown();
        send(Signal::TERM);
        early.await;
        signals.shutdown().await;
        assert!(exited.try_recv().is_err(), "the first signal must not exit");

        send(Signal::INT);
        assert_eq!(exited.recv().await, Some(130));
        send(Signal::TERM);
        assert_eq!(exited.recv().await, Some(143));
    }
}
