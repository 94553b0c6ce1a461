//! What an unknown file is: too short to tell, a copy, the continuation of a lost source, or new. Looks at no names
//! of directories.

use std::{fs::File, io, path::Path};

use memchr::memrchr;

use crate::{
    engine::time::Timestamp,
    tail::{
        identity::{self, Content, FileId, LOWEST},
        kinship::{self, Candidate, Kin},
        lines::READ_SIZE,
        notice::Notice,
        open::Packing,
        resume::{self, LEDGER, Stored},
        scan::Group,
        source::{self, Place, Source},
        tailer::{Copy, Empty, Start, Tailer},
    },
};

/// Compressed files whose rest is watched at once; beyond it all of them wait a little longer.
const MAX_RESTING: usize = 16_384;

impl Tailer {
    /// Finds out what an unknown file is, and takes it in.
    pub(super) fn identify(&mut self, group: &Group, file: Option<File>, now: Timestamp) {
        let Some(path) = group.names.first() else {
            return;
        };
        if let Err(error) = self.try_identify(group, path, file, now)
            && error.kind() != io::ErrorKind::NotFound
        {
            let why = error.to_string();
            self.notices.stands(Notice::Unreadable { path: path.clone(), why });
        }
    }

    fn try_identify(
        &mut self,
        group: &Group,
        path: &Path,
        file: Option<File>,
        now: Timestamp,
    ) -> io::Result<()> {
        let file = match file {
            Some(file) => file,
            None => source::open(path)?,
        };
        if FileId::of(&file.metadata()?) != group.id {
            return Ok(());
        }
        if is_too_short(&file)? {
            // Held open, so that one that is filled and moved away at once is not missed.
            let held = self.empties.values().filter(|empty| empty.file.is_some()).count();
            let file = Some(file).filter(|_| held < self.max_open / 2);
            self.empties.insert(
                group.id,
                Empty { path: path.to_owned(), former: group.former.clone(), file, since: now },
            );
            return Ok(());
        }
        let packing = kinship::packing(&file)?;
        if packing != Packing::Plain && !self.rests(group, now) {
            return Ok(());
        }
        let candidate = match Candidate::new(path, &file, packing) {
            Err(error) if packing != Packing::Plain => {
                self.tell_broken(path, &error);
                return Ok(());
            }
            candidate => candidate?,
        };
        let kin = self.closest_kin(&candidate, group)?;
        match kin {
            Some((Kin::Continuation, generation)) => self.adopt(generation, group, (packing, file), now),
            Some((_, generation)) => {
                let copy = Copy { generation, stamp: group.stamp, path: path.to_owned() };
                self.copies.insert(group.id, copy);
            }
            None => {
                let length = candidate.length();
                let source = self.begin(group, &candidate, now)?;
                self.take_in(source, file, length);
            }
        }
        Ok(())
    }

    fn tell_broken(&mut self, path: &Path, error: &io::Error) {
        let why = error.to_string();
        self.notices.stands(Notice::Broken { path: path.to_owned(), generation: None, position: 0, why });
    }

    /// Whether a compressed file has not changed for a while: only then it is whole.
    pub(super) fn rests(&mut self, group: &Group, now: Timestamp) -> bool {
        let (stamp, since) = *self.resting.get(&group.id).unwrap_or(&(group.stamp, now));
        let same = self.resting.contains_key(&group.id) && stamp == group.stamp;
        if !same {
            if self.resting.len() >= MAX_RESTING {
                self.resting.clear();
            }
            self.resting.insert(group.id, (group.stamp, now));
        }
        let refresh = i64::try_from(self.settings.refresh_ms).unwrap_or(i64::MAX);
        let rests = same && now.millis_since(since) >= refresh;
        self.unrested |= !rests;
        rests
    }

    /// The source that this file belongs to, if any: first one that it continues, the longest one of several.
    fn closest_kin(&mut self, candidate: &Candidate<'_>, group: &Group) -> io::Result<Option<(Kin, u64)>> {
        let mut best: Option<(bool, u64, u64)> = None;
        for source in self.sources.values_mut() {
            let generation = source.generation;
            if group.former.contains(&generation) || self.rejected.contains(&(group.id, generation)) {
                continue;
            }
            let kin = candidate.kin(source)?;
            if kin != Kin::Stranger {
                let rank = (kin == Kin::Continuation, source.stored.position, generation);
                best = best.max(Some(rank));
            }
        }
        Ok(best.map(|(continues, _, generation)| {
            (if continues { Kin::Continuation } else { Kin::Copy }, generation)
        }))
    }

    /// A new source, and where it starts.
    fn begin(&mut self, group: &Group, candidate: &Candidate<'_>, now: Timestamp) -> io::Result<Source> {
        let mut stored = Stored::new(group.id, candidate.path.to_owned(), candidate.packing);
        let rungs = stored.ladder.growth(candidate, candidate.length())?;
        stored.ladder.add(rungs);
        let at_end = self.settings.start == Start::End;
        let born = self.first_start && self.first_scan;
        if candidate.packing == Packing::Plain {
            if at_end && born {
                stored.position = behind_last_line(candidate)?;
                stored.first = stored.position;
                stored.mark = identity::mark(candidate, stored.position)?.unwrap_or_default();
            }
        } else if at_end && group.stamp.seconds.saturating_mul(1000) < self.ledger.first_start.as_millis() {
            // Compressing keeps the modification time.
            stored.complete = true;
            stored.finished_at = Some(group.stamp);
            self.notices.add(Notice::PassedOver { path: candidate.path.to_owned() });
        }
        let mut source = Source::new(self.ledger.assign(), stored, now);
        source.remember_names(&group.names);
        Ok(source)
    }

    fn take_in(&mut self, mut source: Source, file: File, length: u64) {
        let generation = source.generation;
        source.changed = true;
        source.place = Place::Listed;
        source.pending = source.stored.finished_at.is_none();
        source.size = source.size.max(length);
        source.file = Some(file).filter(|_| self.open_files() < self.max_open);
        self.ledger_changed = true;
        self.born.retain(|(generation, _)| *generation != LEDGER);
        self.born.insert(0, (LEDGER, resume::encode(&self.ledger)));
        self.born.push((generation, resume::encode(&source.stored)));
        let position = source.stored.position;
        self.notices.add(Notice::Opened { path: source.path.clone(), generation, position });
        self.sources.insert(generation, source);
    }

    /// Lets a source that lost its file go on in another one.
    pub(super) fn adopt(&mut self, generation: u64, group: &Group, found: (Packing, File), now: Timestamp) {
        let (Some(source), Some(path)) = (self.sources.get_mut(&generation), group.names.first()) else {
            return;
        };
        let (packing, file) = found;
        source.adopt(group.id, path.clone(), packing);
        source.remember_names(&group.names);
        source.grown_at = now;
        (source.gone, source.unreadable) = (false, false);
        source.file = Some(file);
        self.copies.remove(&group.id);
        let position = source.stored.position;
        self.notices.add(Notice::Continued { path: path.clone(), generation, position });
    }
}

/// Whether there is too little to tell one file from another: not a line, and fewer bytes than the lowest rung.
fn is_too_short(file: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    if size >= LOWEST {
        return Ok(false);
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    Ok(!(file.fill(&mut bytes, 0)? && bytes.contains(&b'\n')))
}

/// The offset behind the last newline, looked for in the last [`READ_SIZE`] bytes; else the end, or 0 if the file
/// is shorter than that.
fn behind_last_line(candidate: &Candidate<'_>) -> io::Result<u64> {
    let size = candidate.length();
    let from = size.saturating_sub(READ_SIZE as u64);
    let mut bytes = vec![0; usize::try_from(size - from).unwrap_or_default()];
    if !candidate.fill(&mut bytes, from)? {
        return Ok(0);
    }
    let without_newline = if from == 0 { 0 } else { size };
    Ok(memrchr(b'\n', &bytes).map_or(without_newline, |newline| from + newline as u64 + 1))
}
