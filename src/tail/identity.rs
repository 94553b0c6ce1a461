//! Which file is which: device and inode, and a fingerprint of the content. Never a name.
//!
//! A name says nothing after a rotation, and an inode nothing after a deletion, so each source carries a [`Ladder`]
//! of hashes and the hash of the bytes before its position. They tell a grown file from a rewritten one, and find a
//! file again that was copied, moved to another device or compressed.

use std::{
    fs::{File, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, MetadataExt},
};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// The first bytes that are hashed as one.
pub(crate) const HEAD: u64 = HEAD_LENGTH as u64;

const HEAD_LENGTH: usize = 1024;

/// How many bytes before an offset stand for it.
pub(crate) const WINDOW: u64 = WINDOW_LENGTH as u64;

const WINDOW_LENGTH: usize = 256;

/// The offset of the lowest rung. Less in common than this proves no kinship.
pub(crate) const LOWEST: u64 = 16;

/// The start of an MD5 sum: chance is the opponent here, nobody gains by a collision in his own log.
pub(crate) type Hash = [u8; 8];

/// A file on this machine, as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// What changes when a file is written: its size and modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    pub(crate) seconds: i64,
    pub(crate) nanos: i64,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), seconds: metadata.mtime(), nanos: metadata.mtime_nsec() }
    }
}

/// Bytes that can be read anywhere: a file, or the unpacked beginning of a compressed one.
pub(crate) trait Content {
    /// Fills `buffer` from `offset`; `false` if the content ends before that.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool>;
}

impl Content for File {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        match self.read_exact_at(buffer, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Content for Vec<u8> {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let part = usize::try_from(offset).ok().and_then(|offset| self.get(offset..offset + buffer.len()));
        Ok(part.is_some_and(|part| {
            buffer.copy_from_slice(part);
            true
        }))
    }
}

/// The hash of the bytes `from..to`, at most [`HEAD`] of them; `None` if the content ends before `to`.
fn hash_of(content: &impl Content, from: u64, to: u64) -> io::Result<Option<Hash>> {
    let mut buffer = [0; HEAD_LENGTH];
    let length = usize::try_from(to - from).unwrap_or(usize::MAX);
    let Some(part) = buffer.get_mut(..length) else {
        return Ok(None);
    };
    Ok(content.fill(part, from)?.then(|| hash(part)))
}

fn hash(bytes: &[u8]) -> Hash {
    let sum: [u8; 16] = Md5::digest(bytes).into();
    sum.first_chunk().copied().unwrap_or_default()
}

/// The hash that stands for offset `at`: of the [`WINDOW`] bytes before it.
pub(crate) fn mark(content: &impl Content, at: u64) -> io::Result<Option<Hash>> {
    hash_of(content, at.saturating_sub(WINDOW), at)
}

/// Whether two contents have the same bytes before `length`, judged by the first [`HEAD`] and the last [`WINDOW`].
pub(crate) fn same_prefix(one: &impl Content, other: &impl Content, length: u64) -> io::Result<bool> {
    let head = length.min(HEAD);
    let heads = (hash_of(one, 0, head)?, hash_of(other, 0, head)?);
    let tails = (mark(one, length)?, mark(other, length)?);
    Ok(heads.0.is_some() && heads.0 == heads.1 && tails.0.is_some() && tails.0 == tails.1)
}

/// Hashes at the offsets 16, 32, 64 … as far as the content was seen: up to [`HEAD`] of everything before the offset,
/// above that of the [`WINDOW`] bytes before it.
///
/// So a piece of the same content is recognised whatever its length: at least half of it is spanned by rungs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ladder {
    rungs: Vec<Hash>,
}

impl Ladder {
    fn offset(index: usize) -> Option<u64> {
        1_u64.checked_shl(u32::try_from(index).ok()?)?.checked_mul(LOWEST)
    }

    fn rung(content: &impl Content, offset: u64) -> io::Result<Option<Hash>> {
        let from = if offset <= HEAD { 0 } else { offset - WINDOW };
        hash_of(content, from, offset)
    }

    /// The rungs to add for a content that was seen up to `to`. They are added only once it is verified.
    pub(crate) fn growth(&self, content: &impl Content, to: u64) -> io::Result<Vec<Hash>> {
        let mut rungs = Vec::new();
        while let Some(offset) = Self::offset(self.rungs.len() + rungs.len()).filter(|&offset| offset <= to) {
            let Some(rung) = Self::rung(content, offset)? else {
                break;
            };
            rungs.push(rung);
        }
        Ok(rungs)
    }

    pub(crate) fn add(&mut self, rungs: Vec<Hash>) {
        self.rungs.extend(rungs);
    }

    /// Whether the heads of two contents agree as far as both ladders reach; true if that is nowhere.
    pub(crate) fn has_head_of(&self, other: &Self) -> bool {
        let highest = usize::try_from((HEAD / LOWEST).ilog2()).unwrap_or_default();
        let common = self.rungs.len().min(other.rungs.len()).min(highest + 1);
        let last = common.wrapping_sub(1);
        self.rungs.get(last) == other.rungs.get(last) || common == 0
    }

    /// Whether the head of `content` is still the one that was seen.
    pub(crate) fn has_head(&self, content: &impl Content) -> io::Result<bool> {
        Ok(self.agreement(content, HEAD)?.is_some())
    }

    /// Up to which offset `content` agrees, looking at no more than `length` bytes; `None` if it differs.
    pub(crate) fn agreement(&self, content: &impl Content, length: u64) -> io::Result<Option<u64>> {
        let mut agreed = 0;
        let mut head = None;
        for (index, rung) in self.rungs.iter().enumerate() {
            let Some(offset) = Self::offset(index).filter(|&offset| offset <= length) else {
                break;
            };
            agreed = offset;
            if offset <= HEAD {
                // The hash of the whole head includes those of its parts.
                head = Some((offset, rung));
            } else if Self::rung(content, offset)?.as_ref() != Some(rung) {
                return Ok(None);
            }
        }
        match head {
            Some((offset, rung)) if Self::rung(content, offset)?.as_ref() != Some(rung) => Ok(None),
            _ => Ok(Some(agreed)),
        }
    }
}

/// The last [`WINDOW`] bytes of what went by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trailer(Vec<u8>);

impl Trailer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let new = bytes.get(bytes.len().saturating_sub(WINDOW_LENGTH)..).unwrap_or_default();
        let keep = WINDOW_LENGTH - new.len();
        let surplus = self.0.len().saturating_sub(keep);
        self.0.drain(..surplus);
        self.0.extend_from_slice(new);
    }

    pub(crate) fn mark(&self) -> Hash {
        hash(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(seed: u8, length: usize) -> Vec<u8> {
        (0..length).map(|index| u8::try_from(index / 7 * 31 % 251).unwrap() ^ seed).collect()
    }

    fn ladder(content: &Vec<u8>) -> Ladder {
        let mut ladder = Ladder::default();
        ladder.add(ladder.growth(content, content.len() as u64).unwrap());
        ladder
    }

    #[test]
    fn a_ladder_knows_every_prefix_and_continuation_of_its_content() {
        let whole = content(0, 10_000);
        let ladder = ladder(&whole);
        for length in [0, 15, 16, 17, 1023, 1024, 1025, 5000, 9999] {
            let agreed = ladder.agreement(&whole[..length].to_vec(), length as u64).unwrap().unwrap();
            assert!(agreed <= length as u64 && (agreed * 2 > length as u64 || length < 16));
        }
        let longer = [whole.clone(), content(9, 50_000)].concat();
        assert_eq!(ladder.agreement(&longer, longer.len() as u64).unwrap(), Some(8192));
    }

    #[test]
    fn a_ladder_refuses_a_change_in_the_head_or_below_a_rung() {
        let whole = content(0, 10_000);
        let ladder = ladder(&whole);
        for at in [0, 511, 1000, 2047, 8191 - 200] {
            let mut other = whole.clone();
            other[at] ^= 1;
            assert_eq!(ladder.agreement(&other, 10_000).unwrap(), None, "{at}");
        }
        assert!(ladder.has_head(&whole).unwrap());
        assert!(!ladder.has_head(&content(1, 10_000)).unwrap());
        assert!(!ladder.has_head(&whole[..1023].to_vec()).unwrap());
    }

    #[test]
    fn marks_agree_however_the_bytes_arrived() {
        let whole = content(3, 1000);
        for parts in [1, 7, 255, 256, 257, 999] {
            let mut trailer = Trailer::default();
            for part in whole.chunks(parts) {
                trailer.push(part);
            }
            assert_eq!(Some(trailer.mark()), mark(&whole, 1000).unwrap());
        }
        assert_eq!(mark(&whole, 1001).unwrap(), None);
        assert_eq!(Some(Trailer::default().mark()), mark(&whole, 0).unwrap());
    }
}
