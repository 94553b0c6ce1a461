//! One life of one file: where it is, how far it was read, and the reading. Knows no other file.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use crate::{
    engine::time::Timestamp,
    tail::{
        compressed::{self, Unpacking},
        identity::{self, FileId, Stamp},
        kinship,
        open::Packing,
        resume::Stored,
    },
};

/// Names of one file that are remembered, to see when they go to another one.
const MAX_NAMES: usize = 8;

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
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each with a life of its own")]
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
    pub(crate) endless: Option<u64>,
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
            gone: stored.let_go,
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
        self.changed |= self.stored.absent_since.take().is_some() || self.stored.let_go;
        self.stored.let_go = false;
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

    /// What to store if nothing behind `to` counts as handed out; nothing if that cannot be told now.
    pub(crate) fn stored_at(&self, to: u64) -> Option<Stored> {
        let file = self.file.as_ref().filter(|_| !self.is_packed())?;
        let mark = identity::mark(file, to).ok()??;
        // Only now is it certain that the mark is that of what was read.
        let intact = self.is_intact().ok()?;
        let mut stored = self.stored.clone();
        (stored.position, stored.mark, stored.complete) = (to, mark, false);
        intact.then_some(stored)
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
        self.gone = self.stored.let_go;
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
        self.stored.let_go = false;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_names_are_remembered() {
        let id = FileId::of(&std::fs::metadata("/").unwrap());
        let stored = Stored::new(id, "0".into(), Packing::Plain);
        let mut source = Source::new(1, stored, Timestamp::default());
        let names: Vec<PathBuf> = (0..MAX_NAMES + 2).map(|number| number.to_string().into()).collect();
        source.remember_names(&names);
        assert_eq!(source.names(), &names[2..]);
    }
}
