//! One life of one file: where it is, how far it was read, and the reading. Knows no other file.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use memchr::memchr;
use rustix::{
    buffer::spare_capacity,
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{
    engine::{
        record::{CHUNK, MAX_LINE},
        time::Timestamp,
    },
    tail::{
        compressed::{self, Step, Unpacking},
        identity::{self, FileId, Stamp},
        kinship,
        lines::{self, Next, Piece, READ_SIZE},
        open::Packing,
        resume::Stored,
    },
};

/// Names of one file that are remembered, to see when they go to another one.
const MAX_NAMES: usize = 8;

/// A buffer for what a chunk holds, and the end of the line that crosses its edge.
const FULL_BUFFER: usize = READ_SIZE + SLACK as usize;

/// Reads of at most this many bytes get a buffer of their own size.
const WORTH_REUSE: usize = 128 * 1024;

/// Read beyond the edge of a chunk, for the end of the line that crosses it. A longer line costs a second read.
const SLACK: u64 = 16 * 1024;

/// Where the bytes of a source are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nobody looked yet.
    Unknown,
    /// A pattern matches it.
    Listed,
    /// No pattern matches it any longer, but it is open.
    Unlisted,
    /// It is deleted, but still open.
    Deleted,
    /// Nowhere.
    Lost,
}

/// One life of one file.
pub(crate) struct Source {
    pub(crate) generation: u64,
    pub(crate) stored: Stored,
    /// Stored differs from what was handed over last.
    pub(crate) changed: bool,
    pub(crate) place: Place,
    pub(crate) path: PathBuf,
    names: Vec<PathBuf>,
    pub(crate) file: Option<File>,
    pub(crate) unpacking: Option<Unpacking>,
    /// Bytes seen, unpacked if that is known.
    pub(crate) size: u64,
    pub(crate) stamp: Option<Stamp>,
    /// It was looked at again after the last change: stamps are coarse, and a change can hide behind one.
    confirmed: bool,
    /// There may be something to read.
    pub(crate) pending: bool,
    /// Scans without a change, and the time of the last change of content or place.
    pub(crate) quiet: u32,
    pub(crate) grown_at: Timestamp,
    /// Its last line is to be handed out without newline.
    pub(crate) flush: bool,
    /// An overlong line begins at the position; its end is looked for from here.
    endless: Option<u64>,
    pub(crate) acked: u64,
    /// When it was read last, in turns.
    pub(crate) used: u64,
    /// Since when it is lost, in scans and in time.
    pub(crate) lost_scans: u32,
    pub(crate) lost_at: Timestamp,
    /// Bytes that are known to be there behind the position of a lost source.
    pub(crate) unread: u64,
    /// It was truncated, which was told.
    pub(crate) replaced: bool,
    /// It was told to be gone.
    pub(crate) gone: bool,
    /// It was told to be unreadable.
    pub(crate) unreadable: bool,
}

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

/// What a look at a file told.
#[derive(Debug)]
pub(crate) enum Meeting {
    /// It is still the one it was.
    Same,
    /// It is another one.
    Replaced,
}

/// Opens for reading; does not wait for the other end should it have become a pipe.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
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
    pub(crate) fn new(generation: u64, stored: Stored, now: Timestamp) -> Self {
        let path = stored.path();
        Self {
            generation,
            changed: false,
            place: Place::Unknown,
            names: stored.names(),
            path,
            file: None,
            unpacking: None,
            size: stored.position,
            stamp: None,
            confirmed: false,
            pending: false,
            quiet: 0,
            grown_at: now,
            flush: false,
            endless: None,
            acked: stored.position,
            used: 0,
            lost_scans: 0,
            lost_at: now,
            unread: 0,
            replaced: false,
            gone: false,
            unreadable: false,
            stored,
        }
    }

    pub(crate) fn is_packed(&self) -> bool {
        self.stored.packing != Packing::Plain
    }

    /// Opens the file if it is not open; `false` if its name belongs to another one.
    pub(crate) fn ensure_open(&mut self) -> io::Result<bool> {
        if self.file.is_some() {
            return Ok(true);
        }
        let file = open(&self.path)?;
        if Some(FileId::of(&file.metadata()?)) != self.stored.id {
            return Ok(false);
        }
        self.file = Some(file);
        Ok(true)
    }

    /// Takes over what a scan saw: `names` lead to its file, which looks like `stamp`.
    pub(crate) fn meet(&mut self, names: &[PathBuf], stamp: Stamp, now: Timestamp) -> io::Result<Meeting> {
        self.place = Place::Listed;
        let before = self.path.clone();
        let renamed = !names.contains(&before);
        if let Some(first) = names.first().filter(|_| renamed) {
            self.path.clone_from(first);
        }
        let other = renamed && self.stamp != Some(stamp) && !self.has_packed_head()?;
        if other || matches!(self.look(stamp, now)?, Meeting::Replaced) {
            // The inode was given to another file, whose name is no business of this source.
            self.path = before;
            return Ok(Meeting::Replaced);
        }
        if renamed {
            self.stored.set_path(&self.path);
            self.changed = true;
        }
        self.changed |= self.stored.absent_since.take().is_some();
        self.remember_names(names);
        Ok(Meeting::Same)
    }

    /// Whether a compressed file begins as it did; others are verified before every read.
    fn has_packed_head(&mut self) -> io::Result<bool> {
        if !self.is_packed() || !self.ensure_open()? {
            return Ok(true);
        }
        let Some(file) = &self.file else {
            return Ok(true);
        };
        if kinship::packing(file)? != self.stored.packing {
            return Ok(false);
        }
        // What cannot be unpacked now is judged when it has come to rest.
        match compressed::probe(file, self.stored.packing) {
            Ok(prefix) => self.stored.ladder.has_head(&prefix),
            Err(_) => Ok(true),
        }
    }

    pub(crate) fn remember_names(&mut self, names: &[PathBuf]) {
        for name in names {
            if !self.names.contains(name) {
                if self.names.len() >= MAX_NAMES {
                    self.names.remove(0);
                }
                self.names.push(name.clone());
                self.stored.set_names(&self.names);
                self.changed = true;
            }
        }
    }

    pub(crate) fn names(&self) -> &[PathBuf] {
        &self.names
    }

    /// Looks at a file that no pattern matches, but that is open.
    pub(crate) fn look_unlisted(&mut self, now: Timestamp) -> io::Result<Meeting> {
        let Some(file) = &self.file else {
            if self.place != Place::Lost {
                self.lose(now);
            }
            return Ok(Meeting::Same);
        };
        let metadata = file.metadata()?;
        let place = if metadata.nlink() == 0 { Place::Deleted } else { Place::Unlisted };
        if place != self.place {
            // The time that it stays open begins now.
            self.grown_at = now;
            self.place = place;
        }
        self.look(Stamp::of(&metadata), now)
    }

    fn look(&mut self, stamp: Stamp, now: Timestamp) -> io::Result<Meeting> {
        let is_new = self.stamp != Some(stamp);
        if is_new {
            self.quiet = 0;
            self.grown_at = now;
            self.stamp = Some(stamp);
        } else {
            self.quiet = self.quiet.saturating_add(1);
        }
        if !is_new && self.confirmed {
            return Ok(Meeting::Same);
        }
        self.confirmed = !is_new;
        if self.is_packed() {
            // What is being written is not whole: it is unpacked when it has come to rest.
            self.pending = self.confirmed && self.stored.finished_at != Some(stamp);
            return Ok(Meeting::Same);
        }
        if !self.ensure_open()? {
            return Ok(Meeting::Same);
        }
        if !self.is_intact()? {
            return Ok(Meeting::Replaced);
        }
        self.size = self.size.max(stamp.size);
        self.pending = true;
        Ok(Meeting::Same)
    }

    /// Whether the open file still begins as it did, and still has what was read last.
    pub(crate) fn is_intact(&self) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let position = self.stored.position;
        let tail = position == 0 || identity::mark(file, position)? == Some(self.stored.mark);
        Ok(tail && self.stored.ladder.has_head(file)?)
    }

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

    /// Its file is no longer there or no longer its own.
    pub(crate) fn lose(&mut self, now: Timestamp) {
        self.file = None;
        self.unpacking = None;
        self.endless = None;
        self.flush = false;
        self.pending = false;
        self.place = Place::Lost;
        self.lost_scans = 0;
        self.lost_at = now;
        self.gone = false;
        self.replaced = false;
        self.stamp = None;
        self.unread = self.size.saturating_sub(self.stored.position);
        self.stored.absent_since.get_or_insert(now);
        self.changed = true;
    }

    /// Goes on in another file, which has the same content.
    pub(crate) fn adopt(&mut self, id: FileId, path: PathBuf, packing: Packing) {
        self.stored.id = Some(id);
        self.stored.set_path(&path);
        self.stored.packing = packing;
        self.stored.finished_at = None;
        self.stored.complete = false;
        self.stored.displaced = true;
        self.stored.absent_since = None;
        self.path = path;
        self.place = Place::Listed;
        self.stamp = None;
        self.confirmed = false;
        self.pending = true;
        self.quiet = 0;
        self.unread = 0;
        self.changed = true;
    }
}
