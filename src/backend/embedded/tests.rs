//! What only this backend does: its errors, its bounds, its file. The contract every backend shares is elsewhere.

mod bounds;
mod expiry;
mod faults;
mod memory;
mod opening;
mod splitting;

use std::path::PathBuf;

use tempfile::TempDir;

use super::{Embedded, Settings};
use crate::{
    backend::{Append, Backend, BackendError, Outgoing, Result, Stream, StreamWriter},
    clock::Clock,
    engine::time::Timestamp,
};

struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state.db")
    }

    fn settings(&self) -> Settings {
        Settings { tip_wait_ms: 10, input_shards: 1, ..Settings::new(self.path(), at(1_800_000_000_000)) }
    }

    async fn open(&self) -> Embedded {
        Embedded::open(self.settings()).await.unwrap()
    }

    /// The message of an error, without the directory of this run.
    fn message<T>(&self, outcome: Result<T>) -> String {
        let (kind, text) = match outcome.err().expect("it should have failed") {
            BackendError::Busy { why } => ("busy", why),
            BackendError::Closed { why } => ("closed", why),
            BackendError::Gone { why, .. } => ("gone", why),
            BackendError::Unlisted { why } => ("unlisted", why),
            BackendError::Stopped { why } => ("stopped", why),
            BackendError::Refused { what, .. } => ("refused", what),
            BackendError::Failed { what, .. } => ("failed", what),
        };
        let directory = self.directory.path().canonicalize().unwrap();
        format!("{kind}: {}", text.replace(&directory.display().to_string(), "DIR"))
    }
}

fn at(millis: i64) -> Clock {
    Clock::from_fn(move || Timestamp::from_millis(millis))
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}

async fn append(backend: &Embedded, stream: Stream, data: Vec<u8>) -> Result<()> {
    let record = Outgoing { partition_key: "key".to_owned(), hash_key: None, data: data.into() };
    let append = Append { records: vec![record], sources: Vec::new() };
    backend.writer(stream).await?.append(append).await
}
