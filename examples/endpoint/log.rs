//! A log as records such as `produce` makes of it, and those as they stand in answers. Sends nothing.

use std::{fs::File, io::Read, path::Path};

use anyhow::Context;
use base64_simd::STANDARD;
use logtally::engine::{
    format::{LogFormat, StampCache},
    time::Timestamp,
};

/// zstd's level in `produce`.
const LEVEL: i32 = 1;
/// So many lines at the end of a record say when it arrived: at the latest of their stamps.
const LAST_LINES: usize = 100;
/// How far behind a record all of the file is acknowledged, in bytes.
const IN_FLIGHT: u64 = 8 * 1024 * 1024;

/// Whole lines of a log, and their first byte in it.
pub(crate) struct Lines {
    pub(crate) start: u64,
    pub(crate) data: Vec<u8>,
}

impl Lines {
    /// The partition key: their provenance.
    pub(crate) fn key(&self) -> String {
        let end = self.start + self.data.len() as u64;
        format!("00000000000000ff.7.{}-{end}.{}", self.start, self.start.saturating_sub(IN_FLIGHT))
    }
}

/// The lines of a log in pieces of at most so many bytes.
pub(crate) struct Pieces {
    file: File,
    most: usize,
    start: u64,
    /// What was read of the next piece.
    begun: Vec<u8>,
}

impl Pieces {
    pub(crate) fn open(log: &Path, most: usize) -> anyhow::Result<Self> {
        let file = File::open(log).with_context(|| format!("cannot open {}", log.display()))?;
        Ok(Self { file, most, start: 0, begun: Vec::new() })
    }

    /// The next one; nothing at the end of the log.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<Lines>> {
        let mut data = Vec::with_capacity(self.most);
        data.append(&mut self.begun);
        let room = self.most - data.len();
        (&mut self.file).take(room as u64).read_to_end(&mut data)?;
        let Some(last) = memchr::memrchr(b'\n', &data) else {
            anyhow::ensure!(data.is_empty(), "a line is longer than a record, or the last one has no end");
            return Ok(None);
        };
        self.begun = data.split_off(last + 1);
        let start = self.start;
        self.start += data.len() as u64;
        Ok(Some(Lines { start, data }))
    }
}

/// The records of a log as they stand in answers of `GetRecords`, spread over `shards` in turn.
pub(crate) fn shards(pieces: &mut Pieces, shards: usize, zstd: bool) -> anyhow::Result<Vec<Vec<String>>> {
    let mut found = vec![Vec::new(); shards];
    let format: LogFormat = "combined".parse()?;
    let (mut stamps, mut arrival) = (StampCache::default(), Timestamp::MIN);
    let mut turn = (0..shards).cycle();
    while let Some(lines) = pieces.next()? {
        let last = lines.data.rsplit(|&byte| byte == b'\n').take(LAST_LINES);
        arrival =
            last.filter_map(|line| format.parse(line, &mut stamps).ok()?.time).fold(arrival, Timestamp::max);
        let key = lines.key();
        let data = if zstd { zstd::bulk::compress(&lines.data, LEVEL)? } else { lines.data };
        let shard: &mut Vec<String> = &mut found[turn.next().context("no shards")?];
        shard.push(format!(
            "{{\"SequenceNumber\":\"{:056}\",\"ApproximateArrivalTimestamp\":{}.{:03},\"Data\":\"{}\",\"PartitionKey\":\"{key}\"}}",
            shard.len() + 1,
            arrival.as_millis().div_euclid(1000),
            arrival.as_millis().rem_euclid(1000),
            STANDARD.encode_to_string(&data),
        ));
    }
    Ok(found)
}
