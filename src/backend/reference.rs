//! The port of the reference data: one object, read block by block and replaced whole. Parses none of it.

use std::future::Future;

use bytes::Bytes;

use crate::{backend::Result, engine::reference::Loader};

/// A version of an object: its `ETag`, or what stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// One object that holds the reference data.
pub trait ReferenceStore: Send + 'static {
    /// Reads the object into `sink`: its version and the sink; `None` if `known` is still its version. A missing object
    /// is [`BackendError::Failed`](crate::backend::BackendError::Failed).
    fn fetch<S: Sink>(
        &mut self,
        known: Option<&Version>,
        sink: S,
    ) -> impl Future<Output = Result<Option<(Version, S)>>> + Send;

    /// Replaces the object if `expected` is still its version (`None`: if there is none yet), atomically; else
    /// [`BackendError::Busy`](crate::backend::BackendError::Busy).
    fn replace(
        &mut self,
        expected: Option<&Version>,
        content: Bytes,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// What takes an object as it is read, so that a large one is nowhere held whole.
pub trait Sink: Send + 'static {
    /// The object begins, and what came before is void: it changed while it was read.
    fn begin(&mut self);

    /// The next bytes.
    fn push(&mut self, block: &[u8]);
}

impl Sink for Vec<u8> {
    fn begin(&mut self) {
        self.clear();
    }

    fn push(&mut self, block: &[u8]) {
        self.extend_from_slice(block);
    }
}

impl Sink for Loader {
    fn begin(&mut self) {
        *self = Self::default();
    }

    fn push(&mut self, block: &[u8]) {
        self.push(block);
    }
}
