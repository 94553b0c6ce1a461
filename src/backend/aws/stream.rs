//! Appends to a Kinesis stream. Reads nothing.
//!
//! A record of lines that has its provenance may be compressed on the way; rows never are, so that any consumer can
//! read them.

use std::{io, sync::Arc};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::{
    backend::{
        Append, Backend, BackendError, Outgoing, Result, SourceState, Stream, StreamWriter,
        aws::{Shared, put::Put},
        embedded, record,
    },
    config::Compression,
    engine::provenance::{Node, Provenance},
};

/// zstd's level: of log lines it leaves a sixth or seventh.
const LEVEL: i32 = 1;
/// Payloads below this many bytes go as they are: a frame would hardly be shorter.
const MIN_COMPRESSED: usize = 128;

/// Appends to one stream.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    stream: Stream,
    /// The node and the positions of a producer's files.
    local: Option<embedded::Writer>,
    put: Put,
}

impl Writer {
    pub(super) async fn open(shared: Arc<Shared>, stream: Stream) -> Result<Self> {
        let local = match stream {
            Stream::Input => Some(shared.local()?.writer(stream).await?),
            Stream::Output => None,
        };
        let name = shared.settings.stream(stream);
        // A stream that is not there is an error now.
        shared.summaries.of(&shared.clients, stream, name).await?;
        let put = Put::new(shared.clients.kinesis.clone(), name);
        Ok(Self { shared, stream, local, put })
    }
}

impl StreamWriter for Writer {
    type Packed = Append;

    fn pack(&self, append: Append) -> impl Future<Output = Result<Append>> + Send + use<> {
        let compression = match self.stream {
            Stream::Input => self.shared.settings.compression,
            Stream::Output => Compression::None,
        };
        async move {
            let Append { records, sources } = append;
            let records = match compression {
                Compression::None => records,
                Compression::Zstd => {
                    let failed = |why| BackendError::failed("compressing records", why);
                    let compressed = spawn_blocking(move || compress(records)).await.map_err(io::Error::from);
                    compressed.and_then(|records| records).map_err(failed)?
                }
            };
            Ok(Append { records, sources })
        }
    }

    async fn store(&mut self, packed: Append) -> Result<()> {
        let Append { records, sources } = packed;
        let name = self.shared.settings.stream(self.stream);
        let summary = self.shared.summaries.of(&self.shared.clients, self.stream, name).await?;
        for outgoing in &records {
            record::check(outgoing, summary.max_record)?;
        }
        self.put.all(records.into()).await?;
        if sources.is_empty() {
            return Ok(());
        }
        let local = match &mut self.local {
            Some(local) => local,
            none => none.insert(self.shared.local()?.writer(Stream::Input).await?),
        };
        local.append(Append { records: Vec::new(), sources }).await
    }

    fn node(&self) -> Node {
        self.local.as_ref().map_or(Node(0), StreamWriter::node)
    }

    async fn sources(&mut self) -> Result<Vec<SourceState>> {
        match &mut self.local {
            Some(local) => local.sources().await,
            None => Ok(Vec::new()),
        }
    }
}

/// The records, those of known provenance compressed where that makes them smaller.
fn compress(records: Vec<Outgoing>) -> io::Result<Vec<Outgoing>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let mut one = |mut record: Outgoing| {
        let known = record.partition_key.parse::<Provenance>().is_ok();
        if known && record.data.len() >= MIN_COMPRESSED {
            let smaller = compressor.compress(&record.data)?;
            if smaller.len() < record.data.len() {
                record.data = Bytes::from(smaller);
            }
        }
        Ok(record)
    };
    records.into_iter().map(&mut one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_known_provenance_are_compressed_and_only_to_less() {
        let key = "00000000000000ff.7.0-5000.0";
        let noise = Bytes::from_static(&[7; 4]);
        let outgoing =
            |key: &str, data: Bytes| Outgoing { partition_key: key.to_owned(), hash_key: Some(3), data };
        let lines = Bytes::from(b"line\n".repeat(1_000));
        let records = compress(vec![
            outgoing(key, lines.clone()),
            outgoing("alive", lines.clone()),
            outgoing(key, noise),
        ])
        .unwrap();
        assert_eq!(zstd::bulk::decompress(&records[0].data, 5_000).unwrap(), lines);
        assert_eq!((records[0].partition_key.as_str(), records[0].hash_key), (key, Some(3)));
        assert_eq!(records[1].data, lines);
        assert_eq!(records[2].data, [7; 4][..]);
    }
}
