//! Keeps the reference data in force and edits it. Joins nothing.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::{
    backend::{BackendError, ReferenceStore, Version},
    engine::reference::{
        Difference, Parsed, Reference, ReferenceError, Warning,
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
        let (seen, content) = fetch(&mut store).await?;
        let parsed = parse(content).await?;
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
        let fetched = match self.store.fetch(Some(&self.seen)).await {
            Ok(fetched) => fetched,
            Err(error) => {
                let news = self.unreachable.replace(error.to_string());
                return if news == self.unreachable { Ok(None) } else { Err(error.into()) };
            }
        };
        self.unreachable = None;
        let Some((version, content)) = fetched else {
            return Ok(None);
        };
        let parsed = parse(content).await;
        self.seen = version;
        let parsed = parsed.inspect_err(|error| self.refused = Some(error.to_string()))?;
        report(&parsed);
        let difference = self.current.difference(&parsed.reference);
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
    let (_, content) = fetch(store).await?;
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
    let missing = match fetch(store).await {
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
            fetch(store).await?;
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

async fn fetch<S: ReferenceStore>(store: &mut S) -> Result<(Version, Bytes)> {
    let fetched = store.fetch(None).await?;
    fetched.ok_or_else(|| {
        let what = "reference data: the store has nothing to give".to_owned();
        BackendError::Failed { what, source: None }.into()
    })
}

/// Parses off the runtime's threads: a large file takes its time.
async fn parse(content: Bytes) -> Result<Parsed> {
    match spawn_blocking(move || Reference::parse(&content)).await {
        Ok(parsed) => parsed.map_err(Error::Refused),
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
mod tests {
    use std::{fs, path::Path, thread};

    use super::*;
    use crate::backend::embedded::reference::CsvFile;

    const HEADER: &str = "Host,ApplicationName,Contact\n";

    fn entry(host: &str, application: &str) -> Entry {
        Entry { host: host.to_owned(), application: application.to_owned(), ..Entry::default() }
    }

    async fn refreshed(watched: &mut Watched<CsvFile>) -> String {
        match watched.refresh().await {
            Ok(Some(difference)) => difference.to_string(),
            Ok(None) => "nothing new".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn in_place(path: &Path, rows: &str) {
        fs::write(path, format!("{HEADER}{rows}")).unwrap();
    }

    #[tokio::test]
    async fn a_bad_file_is_told_once_and_the_last_good_one_stays_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts.csv");
        in_place(&path, "web1,A,\n");
        let mut watched = Watched::open(CsvFile::new(&path)).await.unwrap();
        assert_eq!(refreshed(&mut watched).await, "nothing new");
        in_place(&path, "web2,A,\n"); // as long as before
        assert_eq!(refreshed(&mut watched).await, "1 (web2) added, 1 (web1) removed, 0 moved");
        let good = watched.current();
        for (bad, message) in [
            ("web3,A,\nweb4,B", "reference data, row 3: expected 3 fields as in the header, found 2"),
            (
                "web3,Unknown,\n",
                "reference data, row 2: ApplicationName must not be \"Unknown\", under which hosts without owner are counted",
            ),
        ] {
            in_place(&path, bad);
            assert_eq!(refreshed(&mut watched).await, message);
            assert_eq!(watched.trouble(), Some(message));
            assert_eq!(refreshed(&mut watched).await, "nothing new");
            assert!(Arc::ptr_eq(&good, &watched.current()));
        }
        fs::write(&path, "").unwrap();
        assert!(refreshed(&mut watched).await.contains("the file is empty"));
        in_place(&path, "web2,B,\n");
        assert_eq!(refreshed(&mut watched).await, "0 added, 0 removed, 1 (web2) moved");
        assert_eq!(watched.trouble(), None);
        assert_eq!(good.owners()[0].application, "A", "who holds the old one keeps it");
    }

    #[tokio::test]
    async fn a_file_that_vanishes_is_told_once_and_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts.csv");
        in_place(&path, "web1,A,\nweb1,A,\n");
        let mut watched = Watched::open(CsvFile::new(&path)).await.unwrap();
        assert_eq!(watched.warnings().1, 1);
        fs::remove_file(&path).unwrap();
        let message = refreshed(&mut watched).await;
        assert!(
            message.ends_with("hosts.csv cannot be read: no such file; `logtally reference add` makes one"),
            "{message}"
        );
        assert_eq!(refreshed(&mut watched).await, "nothing new");
        assert_eq!(watched.trouble(), Some(message.as_str()));
        assert_eq!(watched.current().len(), 1);
        in_place(&path, "web1,A,\nweb1,A,\n");
        assert_eq!(refreshed(&mut watched).await, "nothing new");
        assert_eq!(watched.trouble(), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(refreshed(&mut watched).await, message, "vanished again: told again");
    }

    #[tokio::test]
    async fn what_cannot_be_loaded_at_first_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut messages = Vec::new();
        for (name, content) in
            [("missing.csv", None), ("bad.csv", Some("10.0.0.300,A,\n")), ("binary.csv", Some("\0\u{1}"))]
        {
            let path = directory.path().join(name);
            if let Some(content) = content {
                in_place(&path, content);
            }
            let error = Watched::open(CsvFile::new(path)).await.unwrap_err().to_string();
            messages.push(error.replace(&directory.path().display().to_string(), "DIR"));
        }
        let error = Watched::open(CsvFile::new(directory.path())).await.unwrap_err();
        messages.push(error.to_string().replace(&directory.path().display().to_string(), "DIR"));
        insta::assert_snapshot!(messages.join("\n"), @r#"
        DIR/missing.csv cannot be read: no such file; `logtally reference add` makes one
        reference data, row 2: "10.0.0.300" is no host name, address or CIDR block
        reference data, row 2: expected 3 fields as in the header, found 1
        DIR cannot be read: it is no regular file
        "#);
    }

    #[tokio::test]
    async fn editing_makes_the_file_and_says_what_it_did() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts.csv");
        let mut store = CsvFile::new(&path);
        assert!(matches!(remove(&mut store, "web1").await, Err(Error::Store(BackendError::Failed { .. }))));
        assert!(!path.exists());
        assert_eq!(add(&mut store, &entry("web1", "A")).await.unwrap(), Outcome::Added);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{HEADER}web1,A,\n"));
        assert_eq!(add(&mut store, &entry("web1", "A")).await.unwrap(), Outcome::Unchanged);
        assert!(
            matches!(add(&mut store, &entry("web1", "B")).await.unwrap(), Outcome::Replaced { was } if was.application == "A")
        );
        assert_eq!(list(&mut store).await.unwrap()[0].entry, entry("web1", "B"));
        assert_eq!(remove(&mut store, "WEB1").await.unwrap(), Outcome::Removed);
        assert_eq!(remove(&mut store, "web1").await.unwrap(), Outcome::NotThere);
        assert_eq!(fs::read_to_string(&path).unwrap(), HEADER);
        let left: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, ["hosts.csv"]);
        assert!(matches!(
            add(&mut CsvFile::new(directory.path()), &entry("a", "A")).await,
            Err(Error::Store(BackendError::Failed { .. }))
        ));
        let nowhere = directory.path().join("no/hosts.csv");
        assert!(matches!(
            add(&mut CsvFile::new(nowhere), &entry("a", "A")).await,
            Err(Error::Store(BackendError::Failed { .. }))
        ));
        fs::write(&path, "no header\n").unwrap();
        assert!(matches!(add(&mut store, &entry("a", "A")).await, Err(Error::Edit(EditError::File(_)))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "no header\n");
    }

    /// Eight editors at once, each with a store and a runtime of its own as processes have, and no file to begin with.
    #[test]
    fn of_edits_at_once_none_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = &directory.path().join("hosts.csv");
        let run = |editor: usize| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let mut store = CsvFile::new(path);
                for n in 0..8 {
                    let host = format!("host{editor}-{n}.example.org");
                    assert_eq!(add(&mut store, &entry(&host, "A")).await.unwrap(), Outcome::Added);
                    if n % 4 == 0 {
                        assert_eq!(remove(&mut store, &host).await.unwrap(), Outcome::Removed);
                    }
                }
            });
        };
        thread::scope(|scope| {
            for editor in 0..8 {
                scope.spawn(move || run(editor));
            }
        });
        let listed = edit::list(&fs::read(path).unwrap()).unwrap();
        assert_eq!(listed.len(), 8 * 6);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
