//! Reads the files that have something, one buffer each in turn, so that a busy one starves none. Opens no new ones.

use std::io;

use crate::{
    engine::time::Timestamp,
    tail::{
        compressed::MAX_UNPACKING,
        lines::Piece,
        notice::Notice,
        reading::Slice,
        source::{Place, Source},
        tailer::{Empty, Tailer},
    },
};

impl Tailer {
    /// Reads about `budget` bytes; `true` if nothing was left to read.
    pub(super) fn read(&mut self, budget: usize, now: Timestamp, pieces: &mut Vec<Piece>) -> bool {
        let caught_up = self.read_in_turn(budget, now, pieces);
        self.close_idle();
        caught_up
    }

    fn read_in_turn(&mut self, budget: usize, now: Timestamp, pieces: &mut Vec<Piece>) -> bool {
        let mut left = budget.max(1);
        let mut waiting = self.turn_order();
        while !waiting.is_empty() {
            let mut again = Vec::with_capacity(waiting.len());
            let mut progress = false;
            for &generation in &waiting {
                let was_open = self.is_open(generation);
                let count = self.read_one(generation, now, pieces);
                self.keep_room(generation, was_open);
                let Some(count) = count else {
                    continue;
                };
                again.push(generation);
                progress |= count > 0;
                left = left.saturating_sub(count);
                if left == 0 {
                    return false;
                }
            }
            if !progress && again.len() == waiting.len() {
                // All wait for files that are half unpacked and out of sight now: the next scan finds those, or not.
                return true;
            }
            waiting = again;
        }
        true
    }

    /// The sources with something to read, beginning behind the one that was read last.
    fn turn_order(&self) -> Vec<u64> {
        let pending = |range| self.sources.range(range).filter(|(_, source)| source.pending).map(|(&g, _)| g);
        let behind = (std::ops::Bound::Excluded(self.turn), std::ops::Bound::Unbounded);
        let mut order: Vec<u64> = pending(behind).collect();
        order.extend(self.sources.range(..=self.turn).filter(|(_, source)| source.pending).map(|(&g, _)| g));
        order
    }

    /// One turn of one source: bytes read, 0 if it has to wait, `None` if it has nothing more.
    fn read_one(&mut self, generation: u64, now: Timestamp, pieces: &mut Vec<Piece>) -> Option<usize> {
        if self.must_wait(generation) {
            return Some(0);
        }
        let source = self.sources.get_mut(&generation)?;
        self.turn = generation;
        self.turns += 1;
        source.used = self.turns;
        let slice = match source.ensure_open() {
            Ok(true) => source.read(&mut self.buffers, pieces),
            Ok(false) => {
                // Renamed since the last scan; the next one finds it.
                self.scan_wanted = true;
                Ok(Slice::Idle)
            }
            Err(error) => Err(error),
        };
        match slice {
            Ok(Slice::Read(count)) => return Some(count.max(1)),
            Ok(Slice::Idle) => source.pending = false,
            Ok(Slice::Replaced) => self.replaced(generation, now),
            Err(error) => self.unreadable(generation, &error),
        }
        None
    }

    /// Whether this is a compressed file and enough others are being unpacked.
    fn must_wait(&self, generation: u64) -> bool {
        let starts = |source: &Source| source.is_packed() && source.unpacking.is_none();
        let unpacking = || self.sources.values().filter(|source| source.unpacking.is_some()).count();
        self.sources.get(&generation).is_some_and(starts) && unpacking() >= MAX_UNPACKING
    }

    /// The file of a source is no longer its own.
    pub(super) fn replaced(&mut self, generation: u64, now: Timestamp) {
        let Some(source) = self.sources.get_mut(&generation) else {
            return;
        };
        match source.stored.id {
            Some(id) if source.is_packed() => {
                self.rejected.insert((id, generation));
            }
            // What is in the file now is read even if the file is moved out of sight before the next scan.
            Some(id) if source.file.is_some() => {
                let (path, file) = (source.path.clone(), source.file.take());
                let empty = Empty { path, former: vec![generation], file, since: now };
                self.empties.insert(id, empty);
            }
            Some(_) | None => {}
        }
        source.lose(now);
        source.replaced = true;
        source.stored.displaced = true;
        source.stored.id = None;
        self.notices.add(Notice::Replaced {
            path: source.path.clone(),
            generation,
            position: source.stored.position,
            unread: source.unread,
        });
        self.scan_wanted = true;
    }

    /// A source cannot be read now.
    pub(super) fn unreadable(&mut self, generation: u64, error: &io::Error) {
        let Some(source) = self.sources.get_mut(&generation) else {
            return;
        };
        source.pending = false;
        source.unreadable |= !source.is_packed();
        let path = source.path.clone();
        let why = error.to_string();
        self.notices.stands(if source.is_packed() {
            let position = source.stored.position;
            Notice::Broken { path, generation: Some(generation), position, why }
        } else {
            Notice::Unreadable { path, why }
        });
        forget_file_unless_held(source);
    }
}

/// Closes what cannot be read, so that it is opened anew at the next try.
fn forget_file_unless_held(source: &mut Source) {
    if source.place == Place::Listed {
        source.file = None;
        source.stamp = None;
    }
}
