//! A bar on standard error for long work. Counts nothing itself.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use indicatif::ProgressStyle;

/// How often the bar is drawn.
const EVERY: Duration = Duration::from_millis(100);

/// A bar that follows a counter until it is dropped; nothing at all if standard error is no terminal.
pub(crate) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Follows `bytes` of `total`; 0 if nobody knows how many there are.
    pub(crate) fn of(bytes: &Arc<AtomicU64>, total: u64) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let (stop, stopped) = channel();
        let bytes = Arc::clone(bytes);
        let draw = move || {
            let bar = bar(total);
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                bar.set_position(bytes.load(Ordering::Relaxed));
            }
            bar.finish_and_clear();
        };
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(draw);
        Self(thread.ok().map(|thread| (stop, thread)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            // A bar that panicked is no reason to fail.
            drop(thread.join());
        }
    }
}

fn bar(total: u64) -> indicatif::ProgressBar {
    let (bar, template) = if total > 0 {
        (indicatif::ProgressBar::new(total), "{bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left")
    } else {
        (indicatif::ProgressBar::new_spinner(), "{spinner} {bytes}  {bytes_per_sec}")
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
