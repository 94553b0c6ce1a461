//! Errors of the ports, named by what the caller can do. Retries nothing: `retry` does.

use std::fmt;

use crate::engine::time::Timestamp;

/// What went wrong, named by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Not now: throttled, locked or full. The same call may succeed later; `why` says what is waited for.
    #[error("{why}")]
    Busy {
        /// What is waited for, and the remedy.
        why: String,
    },
    /// Somebody else holds what was asked for: a second process of the same stage, a lost lease.
    #[error("{why}")]
    Closed {
        /// Who holds it.
        why: String,
    },
    /// The position asked for is past retention: starting at the oldest record kept goes on, at the price of `loss`.
    #[error("{why}")]
    Gone {
        /// What is gone from where, and the remedy.
        why: String,
        /// How much.
        loss: Loss,
    },
    /// The stream does not list this shard, or no longer: what is known of its shards is old, and to be listed anew.
    #[error("{why}")]
    Unlisted {
        /// Which shard of which stream.
        why: String,
    },
    /// The stage was told to stop while the call waited for what may take for ever. Whether the call took effect is
    /// not known; the next start finds out.
    #[error("{why}")]
    Stopped {
        /// What was waited for.
        why: String,
    },
    /// The service refuses what the configuration asks for: no such stream, no permission, no credentials.
    #[error("{what}")]
    Refused {
        /// The thing and the remedy.
        what: String,
        /// The cause below.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The call failed and will fail again.
    #[error("{what}")]
    Failed {
        /// The thing and the remedy.
        what: String,
        /// The cause below.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl BackendError {
    /// A failure with its cause; `what` names the thing and the remedy.
    pub fn failed(what: impl Into<String>, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Failed { what: what.into(), source: Some(Box::new(cause)) }
    }
}

/// What lies between a position and the oldest record kept, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Records.
    pub records: Option<u64>,
    /// Payload, in bytes as appended.
    pub bytes: Option<u64>,
    /// First and last arrival.
    pub arrivals: Option<(Timestamp, Timestamp)>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.records {
            Some(1) => f.write_str("1 record")?,
            Some(records) => write!(f, "{records} records")?,
            None => f.write_str("an unknown number of records")?,
        }
        if let Some(bytes) = self.bytes {
            write!(f, " of {bytes} bytes")?;
        }
        if let Some((first, last)) = self.arrivals {
            write!(f, ", arrived {first} to {last},")?;
        }
        Ok(())
    }
}
