//! What an unknown file is: too short to tell, a copy, the continuation of a lost source, or new. Looks at no names
//! of directories.

use std::{collections::HashMap, fs::File, io, path::Path};

use memchr::memrchr;

use crate::{
    engine::time::Timestamp,
    tail::{
        identity::{self, Content, FileId, LOWEST, Stamp},
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

/// Compressed files whose rest is watched at once; beyond it the others wait until those have rested.
const MAX_RESTING: usize = 16_384;

/// Compressed files that are watched until they rest: how they looked, and since when.
#[derive(Debug, Default)]
pub(super) struct Resting(HashMap<FileId, (Stamp, Timestamp)>);

impl Resting {
    /// Whether this file has looked like this for `rest_ms`. Watches no more than `most` files: one that was watched
    /// for that long has had its answer, or is gone, and makes room for others.
    fn rests(&mut self, (id, stamp): (FileId, Stamp), now: Timestamp, rest_ms: i64, most: usize) -> bool {
        if let Some(&(watched, since)) = self.0.get(&id)
            && watched == stamp
        {
            return now.millis_since(since) >= rest_ms;
        }
        self.0.remove(&id);
        if self.0.len() >= most {
            self.0.retain(|_, (_, since)| now.millis_since(*since) <= rest_ms);
        }
        if self.0.len() < most {
            self.0.insert(id, (stamp, now));
        }
        false
    }
}

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
        let refresh = i64::try_from(self.settings.refresh_ms).unwrap_or(i64::MAX);
        let rests = self.resting.rests((group.id, group.stamp), now, refresh, MAX_RESTING);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_bound_compressed_files_wait_their_turn_and_all_rest_in_the_end() {
        let root = tempfile::tempdir().unwrap();
        let looks = |name: &str| {
            let path = root.path().join(name);
            std::fs::write(&path, name).unwrap();
            let metadata = path.metadata().unwrap();
            (FileId::of(&metadata), Stamp::of(&metadata))
        };
        let mut waiting: Vec<_> = ["1", "2", "3", "4", "5"].map(looks).into();
        let mut resting = Resting::default();
        let mut rested = Vec::new();
        for second in 0..6 {
            let before = waiting.len();
            let now = Timestamp::from_millis(second * 1_000);
            waiting.retain(|&file| !resting.rests(file, now, 1_000, 2));
            assert!(resting.0.len() <= 2);
            rested.push(before - waiting.len());
        }
        assert_eq!(rested.iter().sum::<usize>(), 5, "{rested:?}");
        assert!(rested.iter().all(|&files| files <= 2), "{rested:?}");
    }
}
