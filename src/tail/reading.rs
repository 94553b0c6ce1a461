//! The reading of one source: whole lines of one chunk at a time, verified before they are handed out. Finds no files.

use std::{fs::File, io, os::unix::fs::FileExt};

use memchr::memchr;
use rustix::{buffer::spare_capacity, io::Errno};

use crate::{
    engine::record::{CHUNK, MAX_LINE},
    tail::{
        compressed::{self, Step, Unpacking},
        identity, kinship,
        lines::{self, Next, Piece, READ_SIZE},
        source::Source,
    },
};

/// A buffer for what a chunk holds, and the end of the line that crosses its edge.
const FULL_BUFFER: usize = READ_SIZE + SLACK_LENGTH;

/// Reads of at most this many bytes get a buffer of their own size.
const WORTH_REUSE: usize = 128 * 1024;

/// Read beyond the edge of a chunk, for the end of the line that crosses it. A longer line costs a second read.
const SLACK: u64 = SLACK_LENGTH as u64;

const SLACK_LENGTH: usize = 16 * 1024;

/// Memory to read into.
#[derive(Default)]
pub(crate) struct Buffers {
    /// For looking through bytes that are not kept.
    pub(crate) scratch: Vec<u8>,
    /// Given back by the one who took the pieces.
    pub(crate) spare: Vec<Vec<u8>>,
}

/// What one turn of reading did.
#[derive(Debug)]
pub(crate) enum Slice {
    /// So many bytes were read.
    Read(usize),
    /// Nothing more for now.
    Idle,
    /// The file is no longer the one it was.
    Replaced,
}

/// About `length` bytes from `offset` on, fewer if the file ends.
fn read_at_most(file: &File, offset: u64, length: u64, spare: &mut Vec<Vec<u8>>) -> io::Result<Vec<u8>> {
    let capacity = usize::try_from(length).unwrap_or(usize::MAX);
    let mut data = if capacity > WORTH_REUSE {
        spare.pop().unwrap_or_else(|| Vec::with_capacity(capacity.max(FULL_BUFFER)))
    } else {
        Vec::with_capacity(capacity)
    };
    data.clear();
    data.reserve_exact(capacity);
    while (data.len() as u64) < length {
        let at = offset + data.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut data), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(data)
}

/// The first `length` bytes, without holding much more memory than they need.
fn shortened(mut data: Vec<u8>, length: usize) -> Vec<u8> {
    data.truncate(length);
    if data.capacity() / 2 > length {
        data.shrink_to_fit();
    }
    data
}

fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read_at(free, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Source {
    /// Reads at most one buffer.
    pub(crate) fn read(&mut self, buffers: &mut Buffers, pieces: &mut Vec<Piece>) -> io::Result<Slice> {
        if self.is_packed() {
            return self.read_packed(pieces);
        }
        match self.endless {
            Some(from) => self.read_endless(from, &mut buffers.scratch, pieces),
            None => self.read_plain(&mut buffers.spare, pieces),
        }
    }

    /// Hands out what one chunk has, with the line that crosses into the next.
    fn read_plain(&mut self, spare: &mut Vec<Vec<u8>>, pieces: &mut Vec<Piece>) -> io::Result<Slice> {
        let Some(file) = &self.file else {
            return Ok(Slice::Idle);
        };
        let start = self.stored.position;
        let left = file.metadata()?.len().saturating_sub(start);
        let to_edge = CHUNK - start % CHUNK + SLACK;
        let mut data = read_at_most(file, start, to_edge.min(left), spare)?;
        let mut next = lines::next(&data, 0, start);
        if next == Next::Unfinished && data.len() as u64 >= to_edge {
            data = read_at_most(file, start, left.min(MAX_LINE as u64 + SLACK), spare)?;
            next = lines::next(&data, 0, start);
        }
        let seen = start + data.len() as u64;
        let endless = next == Next::Endless;
        let (end, piece) = match next {
            Next::Whole(range) => (start + range.end as u64, Some(shortened(data, range.end))),
            Next::Overlong(range) => {
                let end = start + range.end as u64;
                (end, Some(Piece::cut(self.generation, start, end, &data).data))
            }
            Next::Unfinished if self.flush && !data.is_empty() => (seen, Some(data)),
            Next::Unfinished | Next::Endless => (start, None),
        };
        if !self.commit(end, seen)? {
            return Ok(Slice::Replaced);
        }
        // Also what is behind this chunk was seen: should it be lost, its length can be told.
        self.size = self.size.max(start + left);
        self.flush &= piece.is_none();
        self.endless = endless.then_some(seen);
        let read = usize::try_from(seen - start).unwrap_or(usize::MAX);
        let progress = endless || piece.is_some();
        pieces.extend(piece.map(|data| Piece { generation: self.generation, start, end, data }));
        Ok(if progress { Slice::Read(read) } else { Slice::Idle })
    }

    /// Looks for the end of an overlong line.
    fn read_endless(&mut self, from: u64, buffer: &mut [u8], pieces: &mut Vec<Piece>) -> io::Result<Slice> {
        let Some(file) = &self.file else {
            return Ok(Slice::Idle);
        };
        let start = self.stored.position;
        let filled = read_full(file, buffer, from)?;
        let newline = memchr(b'\n', buffer.get(..filled).unwrap_or_default());
        let end = match newline {
            Some(newline) => from + newline as u64 + 1,
            None if filled == 0 && self.flush => from,
            None => {
                self.endless = Some(from + filled as u64);
                let intact = self.commit(start, from + filled as u64)?;
                return Ok(match filled {
                    _ if !intact => Slice::Replaced,
                    0 => Slice::Idle,
                    _ => Slice::Read(filled),
                });
            }
        };
        let first = buffer.get_mut(..MAX_LINE).unwrap_or_default();
        let count = read_full(file, first, start)?;
        let piece = Piece::cut(self.generation, start, end, first.get(..count).unwrap_or_default());
        if count < MAX_LINE || !self.commit(end, from + filled as u64)? {
            return Ok(Slice::Replaced);
        }
        self.endless = None;
        self.flush = false;
        pieces.push(piece);
        Ok(Slice::Read(filled))
    }

    /// Moves the position, unless the file turns out to be another one than it was: a truncation while it was read
    /// shows here, because what was truncated does not come back.
    fn commit(&mut self, position: u64, seen: u64) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let mark = identity::mark(file, position)?;
        let rungs = self.stored.ladder.growth(file, seen)?;
        let Some(mark) = mark else {
            return Ok(false);
        };
        if !self.is_intact()? {
            return Ok(false);
        }
        self.size = self.size.max(seen);
        if position > self.stored.position {
            self.stored.complete = false;
        }
        self.changed |= position != self.stored.position || !rungs.is_empty();
        self.stored.position = position;
        self.stored.mark = mark;
        self.stored.ladder.add(rungs);
        Ok(true)
    }

    fn read_packed(&mut self, pieces: &mut Vec<Piece>) -> io::Result<Slice> {
        let step = self.step_packed(pieces);
        if let Some((position, mark)) = self.unpacking.as_ref().and_then(Unpacking::position)
            && position != self.stored.position
        {
            self.stored.position = position;
            self.stored.mark = mark;
            self.stored.complete = false;
            self.size = self.size.max(position);
            self.changed = true;
        }
        match step {
            Ok(Step::More) => Ok(Slice::Read(READ_SIZE)),
            Ok(Step::Differs) => Ok(Slice::Replaced),
            Ok(Step::End) => {
                self.finish_packed();
                self.stored.complete = true;
                Ok(Slice::Idle)
            }
            Err(error) => {
                self.finish_packed();
                Err(error)
            }
        }
    }

    fn step_packed(&mut self, pieces: &mut Vec<Piece>) -> io::Result<Step> {
        if self.unpacking.is_none() {
            let Some(file) = &self.file else {
                return Ok(Step::More);
            };
            let is_same = kinship::packing(file)? == self.stored.packing
                && self.stored.ladder.has_head(&compressed::probe(file, self.stored.packing)?)?;
            if !is_same {
                return Ok(Step::Differs);
            }
            self.unpacking = Some(Unpacking::open(file, self.stored.packing, self.stored.position)?);
        }
        let source = (self.generation, self.stored.mark);
        self.unpacking.as_mut().map_or(Ok(Step::End), |unpacking| unpacking.step(source, pieces))
    }

    /// Nothing more comes of a compressed file until it changes.
    fn finish_packed(&mut self) {
        self.unpacking = None;
        self.file = None;
        self.stored.finished_at = self.stamp;
        self.changed = true;
    }
}
