//! Where work runs that takes its thread for long. Does none.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::{JoinError, spawn_blocking},
};

/// Whether this runtime has one thread. Then everything is done in it, and in an order that follows from what was
/// asked for: that is what a simulation needs.
pub(crate) fn is_one_thread() -> bool {
    Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread
}

/// Runs `work` on a thread for such work, if the runtime has any.
///
/// # Errors
/// If it panics there.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if is_one_thread() { Ok(work()) } else { spawn_blocking(work).await }
}
