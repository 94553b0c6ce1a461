//! Payloads as they lie in the file: compressed where that pays, else as they came. Knows no table.
//!
//! Codec 0: as appended. Codec 1: one zstd frame.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::{CParameter, compress_bound},
};

use crate::backend::{
    Outgoing, Result,
    embedded::{error::failed, store::blocking},
    record::{self, MAX_RECORD},
};

/// zstd's level. Of log lines it leaves a sixth or seventh; -1 takes as long and leaves a fifth, -5 takes three
/// quarters of the time and leaves a quarter.
const LEVEL: i32 = 1;
/// How far back a match may lie, as a power of two: with 256 KiB the tables stay in the processor's cache, which is
/// a sixth faster than a window of the whole record and costs one percent of size.
const WINDOW_LOG: u32 = 18;
/// Payloads below this many bytes are stored as they come: a frame would hardly be shorter.
const MIN_COMPRESSED: usize = 128;
/// Payloads of one append above this many bytes are compressed on a thread that may be kept busy.
const INLINE: usize = 16 * 1024;
/// Contexts kept for the next caller; each takes about 1 MiB.
const IDLE_CONTEXTS: usize = 4;

/// A record as it goes into its table.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) key: String,
    pub(super) explicit: Option<u128>,
    /// Where it belongs.
    pub(super) hash: u128,
    /// Length as appended.
    pub(super) raw: i64,
    /// As appended.
    pub(super) plain: Bytes,
    pub(super) codec: i64,
    /// As stored.
    pub(super) data: Bytes,
}

/// Compression contexts, shared because each is costly to make.
#[derive(Debug, Default)]
pub(super) struct Codec(Mutex<Vec<Context>>);

/// A compressor with the buffer it writes to, so that only what is left of a record takes memory anew.
struct Context {
    compressor: Compressor<'static>,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

impl Codec {
    /// Checks and compresses records, off the async threads if there is much of it, and then on two at once: who appends
    /// waits for it.
    pub(super) async fn prepare(self: &Arc<Self>, mut records: Vec<Outgoing>) -> Result<Vec<Prepared>> {
        if records.iter().map(|record| record.data.len()).sum::<usize>() <= INLINE {
            return self.prepare_now(records);
        }
        let half = |records| {
            let codec = Arc::clone(self);
            blocking(move || codec.prepare_now(records))
        };
        let rest = records.split_off(records.len().div_ceil(2));
        let (first, second) = tokio::join!(half(records), half(rest));
        let mut prepared = first?;
        prepared.append(&mut second?);
        Ok(prepared)
    }

    fn prepare_now(&self, records: Vec<Outgoing>) -> Result<Vec<Prepared>> {
        let mut context = None;
        let prepared = records.into_iter().map(|record| self.prepare_one(record, &mut context)).collect();
        if let Some(context) = context {
            let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_CONTEXTS {
                idle.push(context);
            }
        }
        prepared
    }

    fn prepare_one(&self, record: Outgoing, context: &mut Option<Context>) -> Result<Prepared> {
        record::check(&record, MAX_RECORD)?;
        let raw = i64::try_from(record.data.len()).unwrap_or(i64::MAX);
        let smaller = if record.data.len() < MIN_COMPRESSED {
            None
        } else {
            let context = match context {
                Some(context) => context,
                None => context.insert(self.context()?),
            };
            context.compress(&record.data)?
        };
        let (codec, data) = smaller.map_or_else(|| (0, record.data.clone()), |smaller| (1, smaller));
        Ok(Prepared {
            hash: record.hash_key.unwrap_or_else(|| record::hash(&record.partition_key)),
            key: record.partition_key,
            explicit: record.hash_key,
            raw,
            plain: record.data,
            codec,
            data,
        })
    }

    fn context(&self) -> Result<Context> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(Context::new, Ok)
    }
}

impl Context {
    fn new() -> Result<Self> {
        let compressor = Compressor::new(LEVEL).and_then(|mut compressor| {
            compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
            Ok(compressor)
        });
        let compressor = compressor.map_err(|error| failed("no memory to compress", error))?;
        Ok(Self { compressor, buffer: Vec::new() })
    }

    /// The payload compressed, or `None` where that is no gain.
    fn compress(&mut self, data: &[u8]) -> Result<Option<Bytes>> {
        self.buffer.clear();
        self.buffer.reserve(compress_bound(data.len()));
        self.compressor
            .compress_to_buffer(data, &mut self.buffer)
            .map_err(|error| failed("a payload could not be compressed", error))?;
        Ok((self.buffer.len() < data.len()).then(|| Bytes::copy_from_slice(&self.buffer)))
    }
}

/// The payload that was appended, from what was stored; `None` if it is damaged.
pub(super) fn restore(
    context: &mut Decompressor<'static>,
    codec: i64,
    raw: i64,
    stored: Vec<u8>,
) -> Option<Bytes> {
    let raw = usize::try_from(raw).ok().filter(|&raw| raw <= MAX_RECORD)?;
    let data = match codec {
        0 => stored,
        1 => context.decompress(&stored, raw).ok()?,
        _ => return None,
    };
    (data.len() == raw).then(|| data.into())
}
