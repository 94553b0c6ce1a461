//! Reference data in a CSV file. Parses nothing.

use std::path::PathBuf;

use bytes::Bytes;

use crate::backend::{ReferenceStore, Result, Version, embedded::error::failed};

/// The file.
#[derive(Debug)]
pub struct ReferenceFile {
    path: PathBuf,
}

impl ReferenceFile {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl ReferenceStore for ReferenceFile {
    async fn fetch(&mut self, known: Option<&Version>) -> Result<Option<(Version, Bytes)>> {
        let content = std::fs::read(&self.path)
            .map_err(|error| failed(format!("{}: {error}", self.path.display()), error))?;
        let version = Version(format!("{:x}", content.len()));
        Ok((known != Some(&version)).then(|| (version, content.into())))
    }

    async fn replace(&mut self, _expected: Option<&Version>, content: Bytes) -> Result<()> {
        std::fs::write(&self.path, &content)
            .map_err(|error| failed(format!("{}: {error}", self.path.display()), error))
    }
}
