//! Keeps the reference data in force and edits it. Joins nothing.

use std::{sync::Arc, time::Duration};

use tokio::task::spawn_blocking;

use crate::{
    backend::{BackendError, ReferenceStore, Sink, Version},
    engine::reference::{
        Difference, Loader, Parsed, Reference, ReferenceError, Warning,
        edit::{self, EditError, Edited},
    },
};

pub use crate::engine::reference::edit::{Entry, Listed, Outcome};

/// How often an edit starts again because somebody else edited in between; then it fails with what was in the way.
const ATTEMPTS: u32 = 40;

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Why reference data could not be loaded or edited.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read or written.
    #[error(transparent)]
    Store(#[from] BackendError),
    /// The file was read and refused.
    #[error("reference data, {0}")]
    Refused(ReferenceError),
    /// The edit was refused.
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// Short for results of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The last good reference data of a store.
#[derive(Debug)]
pub struct Watched<S> {
    store: S,
    /// The version read last, good or bad.
    seen: Version,
    current: Arc<Reference>,
    warnings: (Vec<Warning>, u64),
    /// Why the version read last is not in force.
    refused: Option<String>,
    /// Why the store could not be asked.
    unreachable: Option<String>,
}

impl<S: ReferenceStore> Watched<S> {
    /// Reads the reference data, and logs what is odd about it.
    ///
    /// # Errors
    /// If it cannot be read, or is refused.
    pub async fn open(mut store: S) -> Result<Self> {
        let (seen, loader) = fetch(&mut store, Loader::default()).await?;
        let parsed = off_the_runtime(|| loader.finish()).await?;
        report(&parsed);
        Ok(Self {
            store,
            seen,
            current: Arc::new(parsed.reference),
            warnings: (parsed.warnings, parsed.warnings_total),
            refused: None,
            unreachable: None,
        })
    }

    /// The reference data in force.
    #[must_use]
    pub fn current(&self) -> Arc<Reference> {
        Arc::clone(&self.current)
    }

    /// What is odd about the file in force: the first warnings, and how many there are.
    #[must_use]
    pub fn warnings(&self) -> (&[Warning], u64) {
        (&self.warnings.0, self.warnings.1)
    }

    /// What keeps the newest file from being in force, as long as it does.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.unreachable.as_deref().or(self.refused.as_deref())
    }

    /// Reads the reference data again if it changed: what changed, or `None` if there is nothing new. Cancel-safe.
    ///
    /// # Errors
    /// If the file cannot be read or is refused; the last good one stays in force. The same trouble is an error once,
    /// and until it is over [`Self::trouble`] tells it.
    pub async fn refresh(&mut self) -> Result<Option<Difference>> {
        let fetched = match self.store.fetch(Some(&self.seen), Loader::default()).await {
            Ok(fetched) => fetched,
            Err(error) => {
                let news = self.unreachable.replace(error.to_string());
                return if news == self.unreachable { Ok(None) } else { Err(error.into()) };
            }
        };
        self.unreachable = None;
        let Some((version, loader)) = fetched else {
            return Ok(None);
        };
        let current = self.current();
        let finished = off_the_runtime(move || {
            let parsed = loader.finish()?;
            let difference = current.difference(&parsed.reference);
            Ok((parsed, difference))
        })
        .await;
        self.seen = version;
        let (parsed, difference) = finished.inspect_err(|error| self.refused = Some(error.to_string()))?;
        report(&parsed);
        self.refused = None;
        self.current = Arc::new(parsed.reference);
        self.warnings = (parsed.warnings, parsed.warnings_total);
        Ok(Some(difference))
    }
}

/// Gives a host to an owner, whatever others edit at the same time; a store that has no file yet gets one.
///
/// # Errors
/// If the file cannot be read or written, or the file or the entry is refused.
pub async fn add<S: ReferenceStore>(store: &mut S, entry: &Entry) -> Result<Outcome> {
    let new = edit::header_for(entry);
    edit(store, Some(&new), |file| edit::add(file, entry)).await
}

/// Removes every row of a host, whatever others edit at the same time.
///
/// # Errors
/// If the file cannot be read or written, or the file or the host is refused.
pub async fn remove<S: ReferenceStore>(store: &mut S, host: &str) -> Result<Outcome> {
    edit(store, None, |file| edit::remove(file, host)).await
}

/// Every row of the file.
///
/// # Errors
/// If the file cannot be read, or is refused.
pub async fn list<S: ReferenceStore>(store: &mut S) -> Result<Vec<Listed>> {
    let (_, content) = fetch(store, Vec::new()).await?;
    edit::list(&content).map_err(Error::Refused)
}

/// Reads, edits and replaces until nobody else did so in between. `new` is what a file that is not there is made from.
async fn edit<S: ReferenceStore>(
    store: &mut S,
    new: Option<&[u8]>,
    edit: impl Fn(&[u8]) -> Result<Edited, EditError> + Send + Sync,
) -> Result<Outcome> {
    let mut attempt = 0;
    loop {
        let error = match try_edit(store, new, &edit).await {
            Err(Error::Store(error @ BackendError::Busy { .. })) => error,
            done => return done,
        };
        attempt += 1;
        if attempt == ATTEMPTS {
            return Err(error.into());
        }
        tracing::debug!(%error, attempt, "reference data: editing again");
        tokio::time::sleep(pause(attempt)).await;
    }
}

/// One attempt. That a file is missing shows in that it can be created: a store need not tell it from a file that
/// must not be read, and creating never overwrites.
async fn try_edit<S: ReferenceStore>(
    store: &mut S,
    new: Option<&[u8]>,
    edit: &(impl Fn(&[u8]) -> Result<Edited, EditError> + Sync),
) -> Result<Outcome> {
    let missing = match fetch(store, Vec::new()).await {
        Ok((version, file)) => {
            let edited = edit(&file)?;
            if let Some(content) = edited.content {
                store.replace(Some(&version), content.into()).await?;
            }
            return Ok(edited.outcome);
        }
        Err(error @ Error::Store(BackendError::Failed { .. })) => error,
        Err(error) => return Err(error),
    };
    let Some(new) = new else { return Err(missing) };
    let Edited { outcome, content } = edit(new)?;
    match store.replace(None, content.unwrap_or_default().into()).await {
        Ok(()) => Ok(outcome),
        Err(BackendError::Busy { .. }) => {
            // It is there: made by somebody else just now, or what failed above fails still.
            fetch(store, Vec::new()).await?;
            Err(BackendError::Busy { why: missing.to_string() }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Full jitter: anything up to a bound that doubles, so that editors who met once do not meet again.
fn pause(attempt: u32) -> Duration {
    let bound = LONGEST_PAUSE.min(Duration::from_millis(1 << attempt.min(16)));
    let random = getrandom::u32().unwrap_or(u32::MAX);
    bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

async fn fetch<S: ReferenceStore, T: Sink>(store: &mut S, sink: T) -> Result<(Version, T)> {
    let fetched = store.fetch(None, sink).await?;
    fetched.ok_or_else(|| {
        let what = "reference data: the store has nothing to give".to_owned();
        BackendError::Failed { what, source: None }.into()
    })
}

/// Settles what was read, and compares it, off the runtime's threads: for a large file it takes its time.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> std::result::Result<T, ReferenceError> + Send + 'static,
) -> Result<T> {
    match spawn_blocking(work).await {
        Ok(done) => done.map_err(Error::Refused),
        Err(ended) => Err(BackendError::Failed {
            what: "reference data: parsing was cut off".to_owned(),
            source: Some(ended.into()),
        }
        .into()),
    }
}

fn report(parsed: &Parsed) {
    for warning in &parsed.warnings {
        tracing::warn!("reference data, {warning}");
    }
    let shown = parsed.warnings.len() as u64;
    if parsed.warnings_total > shown {
        tracing::warn!("reference data: {} more warnings", parsed.warnings_total - shown);
    }
}

#[cfg(test)]
mod tests;
