//! Whether the path of the database still leads to the file that is open. Opens nothing.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::backend::{BackendError, embedded::error::refused};

/// The file that was opened: its device and inode.
///
/// SQLite goes on in a file that was removed or replaced, and what it stores there is gone with the process. Its other
/// connections, opened by name, would look into another file.
#[derive(Debug)]
pub(super) struct Identity {
    path: PathBuf,
    file: (u64, u64),
}

impl Identity {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: file_at(path)? })
    }

    /// Fails for good once something else is there, or nothing, or nothing is in it: SQLite takes that for a new database.
    pub(super) fn check(&self) -> Result<(), BackendError> {
        match file_at(&self.path) {
            Ok(file) if file == self.file => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(()),
            Ok(_) | Err(_) => Err(refused(format!(
                "{} was replaced, removed or emptied while it was in use: put it back with its -wal, or begin anew \
                 without both",
                self.path.display()
            ))),
        }
    }
}

fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    if metadata.len() == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((metadata.dev(), metadata.ino()))
}
