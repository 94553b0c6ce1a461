//! SQLite's errors, named by what the caller can do about them. Touches no file.

use std::{error::Error, path::Path};

use rusqlite::{ErrorCode, ffi};

use crate::backend::BackendError;

/// What is said of a lock that somebody else holds.
pub(super) const LOCKED: &str = "another process keeps it locked; waiting for it";

/// What goes wrong inside a job: SQLite's error, to be translated where the path is known, or one of ours.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Backend(BackendError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<BackendError> for Fault {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

impl Fault {
    /// The error for the caller; `path` is the database.
    pub(super) fn at(self, path: &Path) -> BackendError {
        match self {
            Self::Sql(error) => translate(path, error),
            Self::Backend(error) => error,
        }
    }
}

/// The same error once more, for the other jobs of a group that failed as a whole.
pub(super) fn again(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => {
            rusqlite::Error::SqliteFailure(*code, message.clone())
        }
        other => rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ERROR), Some(other.to_string())),
    }
}

/// A failure that repeats, with its cause.
pub(super) fn failed(
    what: impl Into<String>,
    source: impl Into<Box<dyn Error + Send + Sync>>,
) -> BackendError {
    BackendError::Failed { what: what.into(), source: Some(source.into()) }
}

/// A failure that repeats and needs no further cause.
pub(super) fn refused(what: impl Into<String>) -> BackendError {
    BackendError::Failed { what: what.into(), source: None }
}

fn translate(path: &Path, error: rusqlite::Error) -> BackendError {
    let path = path.display();
    let Some(code) = error.sqlite_error_code() else {
        return failed(format!("{path}: {error}"), error);
    };
    match code {
        ErrorCode::DiskFull => no_space(&path),
        ErrorCode::SystemIoFailure if extended(&error) == ffi::SQLITE_IOERR_SHMSIZE => no_space(&path),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            BackendError::Busy { why: format!("{path}: {LOCKED}") }
        }
        ErrorCode::DatabaseCorrupt => failed(
            format!(
                "{path} is damaged: stop logtally and restore a copy of the file with its -wal, or move both and the \
                 -shm away to begin anew"
            ),
            error,
        ),
        ErrorCode::NotADatabase => failed(
            format!("{path} is no database of logtally: use another state_dir, or move the file away"),
            error,
        ),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => failed(
            format!(
                "{path}: no permission to write: run as the user who owns it, remount its file system if that is \
                 read-only, or use another state_dir"
            ),
            error,
        ),
        ErrorCode::CannotOpen => failed(
            format!(
                "{path}: cannot be opened: its directory must exist, belong to this user and not be read-only, and the \
                 process must not have too many files open (ulimit -n)"
            ),
            error,
        ),
        ErrorCode::SystemIoFailure => failed(format!("{path}: the file system fails: {error}"), error),
        _ => failed(format!("{path}: {error}"), error),
    }
}

fn no_space(path: &std::path::Display<'_>) -> BackendError {
    BackendError::Busy {
        why: format!("{path}: no space left; free some on its file system, nothing is lost meanwhile"),
    }
}

fn extended(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(0, |error| error.extended_code)
}
