//! The compressed form of a log: unpacked from its start, skipped as far as it is known. Cannot be read backwards.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use crate::tail::{
    identity::{Hash, Trailer},
    lines::{Lines, Piece, Progress},
    open::Packing,
};

/// Unpacked bytes by which a compressed file is recognised.
const PROBE: u64 = 64 * 1024;

/// Compressed files unpacked at the same time; others wait for their turn. A zstd frame may ask for 128 MiB.
pub const MAX_UNPACKING: usize = 2;

/// Unpacked bytes skipped before other files get their turn.
const SKIP_AT_ONCE: u64 = 8 * 1024 * 1024;

/// Reads a file from its start whatever else is done with its descriptor.
struct FromStart {
    file: File,
    offset: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

type Unpacked = Box<dyn Read + Send>;

fn unpack(file: &File, packing: Packing) -> io::Result<Unpacked> {
    packing.reader(FromStart { file: file.try_clone()?, offset: 0 })
}

/// The first [`PROBE`] unpacked bytes of `file`.
pub(crate) fn probe(file: &File, packing: Packing) -> io::Result<Vec<u8>> {
    let mut prefix = Vec::new();
    unpack(file, packing)?.take(PROBE).read_to_end(&mut prefix)?;
    Ok(prefix)
}

/// A compressed file on its way.
pub(crate) enum Unpacking {
    /// What was handed out before.
    Skipping(Skipping),
    /// What was not.
    Reading(Lines<Unpacked>),
}

/// What one step did.
pub(crate) enum Step {
    /// Went on.
    More,
    /// Reached the end.
    End,
    /// Found that this is another content.
    Differs,
}

/// The part of a compressed file that is known already.
pub(crate) struct Skipping {
    reader: Option<Unpacked>,
    at: u64,
    goal: u64,
    trailer: Trailer,
}

impl Unpacking {
    /// Starts to unpack `file`, to be read from offset `goal`.
    pub(crate) fn open(file: &File, packing: Packing, goal: u64) -> io::Result<Self> {
        let reader = Some(unpack(file, packing)?);
        Ok(Self::Skipping(Skipping { reader, at: 0, goal, trailer: Trailer::default() }))
    }

    /// Goes on a little. `mark` is the hash that must stand before the goal.
    pub(crate) fn step(&mut self, source: (u64, Hash), pieces: &mut Vec<Piece>) -> io::Result<Step> {
        match self {
            Self::Reading(lines) => Ok(match lines.read(pieces)? {
                Progress::More => Step::More,
                Progress::End => Step::End,
            }),
            Self::Skipping(skipping) => {
                if !skipping.step()? {
                    return Ok(Step::End);
                }
                let (generation, mark) = source;
                let Some(reader) = skipping.arrived() else {
                    return Ok(Step::More);
                };
                if skipping.goal > 0 && skipping.trailer.mark() != mark {
                    return Ok(Step::Differs);
                }
                let trailer = std::mem::take(&mut skipping.trailer);
                *self = Self::Reading(Lines::new(reader, generation, skipping.goal).with_trailer(trailer));
                Ok(Step::More)
            }
        }
    }

    /// The position, and the mark before it, once the known part is skipped.
    pub(crate) fn position(&self) -> Option<(u64, Hash)> {
        match self {
            Self::Skipping(_) => None,
            Self::Reading(lines) => Some((lines.position(), lines.mark())),
        }
    }
}

impl Skipping {
    /// Skips some; `false` if the content ends before the goal.
    fn step(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; 64 * 1024];
        let until = self.goal.min(self.at + SKIP_AT_ONCE);
        while let Some(reader) = self.reader.as_mut().filter(|_| self.at < until) {
            let most = usize::try_from(until - self.at).unwrap_or(usize::MAX).min(buffer.len());
            let count = reader.read(buffer.get_mut(..most).unwrap_or_default())?;
            if count == 0 {
                return Ok(false);
            }
            self.trailer.push(buffer.get(..count).unwrap_or_default());
            self.at += count as u64;
        }
        Ok(true)
    }

    fn arrived(&mut self) -> Option<Unpacked> {
        if self.at == self.goal { self.reader.take() } else { None }
    }
}
