//! What a look at the directories means for the sources: known, renamed, replaced, gone, new. Reads no lines.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    path::{Path, PathBuf},
};

use memchr::memrchr;

use crate::{
    engine::time::Timestamp,
    tail::{
        discovery::Listing,
        identity::{self, Content, FileId, LOWEST, Stamp},
        kinship::{self, Candidate, Kin},
        lines::READ_SIZE,
        notice::Notice,
        open::Packing,
        resume::{self, LEDGER, Stored},
        source::{self, Meeting, Place, Source},
        tailer::{Copy, Empty, Start, Tailer},
    },
};

/// Empty files that are held open, so that one that is filled and moved away at once is not missed.
const MAX_EMPTY_OPEN: usize = 256;

/// Compressed files whose rest is watched at once; beyond it all of them wait a little longer.
const MAX_RESTING: usize = 16_384;

/// A file that the patterns match, under all its names.
pub(super) struct Group {
    pub(super) id: FileId,
    pub(super) stamp: Stamp,
    pub(super) names: Vec<PathBuf>,
    claimed: bool,
    /// The sources that were in this file and are no longer.
    former: Vec<u64>,
}

pub(super) type Groups = BTreeMap<FileId, Group>;

fn group(listing: &mut Listing) -> Groups {
    let mut groups = Groups::new();
    // Names of links come behind those of files.
    for link in [false, true] {
        for found in listing.files.values().filter(|found| (found.names.len() > 1) == link) {
            let (id, stamp) = (found.id, found.stamp);
            let group = groups.entry(id).or_insert_with(|| Group {
                id,
                stamp,
                names: Vec::new(),
                claimed: false,
                former: Vec::new(),
            });
            for name in &found.names {
                if !group.names.contains(name) {
                    group.names.push(name.clone());
                }
            }
        }
    }
    groups
}

impl Tailer {
    pub(super) fn scan(&mut self, now: Timestamp) {
        let mut listing = self.patterns.list(&mut self.notices);
        let mut groups = group(&mut listing);
        self.limit(&mut groups);
        self.meet_sources(&mut groups, now);
        self.see_displaced(&groups);
        self.meet_copies(&mut groups);
        self.meet_empties(&mut groups, now);
        let mut unknown: Vec<Group> = groups.into_values().filter(|group| !group.claimed).collect();
        // The longer of two equal beginnings is the original, and of two equal files the one with the shorter name.
        unknown.sort_by_key(|group| {
            (std::cmp::Reverse(group.stamp.size), group.names.first().map(|name| name.as_os_str().len()))
        });
        for group in &unknown {
            self.identify(group, None, now);
        }
        self.settle(&listing, now);
        if let Some(why) = self.watcher.follow(&listing.directories) {
            self.notices.stands(Notice::Polling { why });
        }
        self.first_scan = false;
        self.notices.end_of_scan();
    }

    /// Keeps to the bound on files: known ones first, then those written last.
    fn limit(&mut self, groups: &mut Groups) {
        let limit = self.settings.max_files;
        if groups.len() <= limit {
            return;
        }
        self.notices.stands(Notice::TooManyFiles { matched: groups.len(), limit });
        let known: Vec<FileId> = self.sources.values().filter_map(|source| source.stored.id).collect();
        let mut order: Vec<(bool, i64, i64, FileId)> = groups
            .values()
            .map(|group| (known.contains(&group.id), group.stamp.seconds, group.stamp.nanos, group.id))
            .collect();
        order.sort_unstable_by(|one, other| other.cmp(one));
        for (_, _, _, id) in order.into_iter().skip(limit) {
            groups.remove(&id);
        }
    }

    /// Newer sources first: of two that were in the same file only the newer one can still be.
    fn meet_sources(&mut self, groups: &mut Groups, now: Timestamp) {
        let generations: Vec<u64> = self.sources.keys().rev().copied().collect();
        for generation in generations {
            let Some(source) = self.sources.get_mut(&generation) else {
                continue;
            };
            let group = source.stored.id.and_then(|id| groups.get_mut(&id));
            let was_told = source.gone || source.unreadable;
            let meeting = match group {
                Some(group) if !group.claimed => {
                    let meeting = source.meet(&group.names, group.stamp, now);
                    group.claimed = !matches!(meeting, Ok(Meeting::Replaced));
                    if !group.claimed {
                        group.former.push(generation);
                    }
                    meeting
                }
                Some(_) => Ok(Meeting::Replaced),
                None => source.look_unlisted(now),
            };
            match meeting {
                Ok(Meeting::Same) if was_told && source.place == Place::Listed => {
                    (source.gone, source.unreadable) = (false, false);
                    self.notices.add(Notice::CameBack { path: source.path.clone() });
                }
                Ok(Meeting::Same) => {}
                Ok(Meeting::Replaced) => self.replaced(generation, now),
                Err(error) => self.unreadable(generation, &error),
            }
        }
    }

    /// A source whose name leads to another file has lost its writer, or will soon.
    fn see_displaced(&mut self, groups: &Groups) {
        let names: HashMap<&Path, FileId> = groups
            .values()
            .flat_map(|group| group.names.iter().map(|name| (name.as_path(), group.id)))
            .collect();
        for source in self.sources.values_mut().filter(|source| !source.stored.displaced) {
            let moved =
                |name: &PathBuf| names.get(name.as_path()).is_some_and(|id| Some(*id) != source.stored.id);
            if source.place == Place::Deleted || source.names().iter().any(moved) {
                source.stored.displaced = true;
                source.changed = true;
            }
        }
    }

    fn meet_copies(&mut self, groups: &mut Groups) {
        let sources = &self.sources;
        self.copies.retain(|id, copy| {
            let Some(group) = groups.get_mut(id).filter(|group| !group.claimed) else {
                return false;
            };
            // A copy that was written to is looked at anew.
            let stays = group.stamp == copy.stamp && sources.contains_key(&copy.generation);
            group.claimed = stays;
            if let Some(name) = group.names.first() {
                copy.path.clone_from(name);
            }
            stays
        });
    }

    fn meet_empties(&mut self, groups: &mut Groups, now: Timestamp) {
        for (id, mut empty) in std::mem::take(&mut self.empties) {
            if let Some(group) = groups.get_mut(&id) {
                group.claimed |= group.stamp.size == 0;
                if group.claimed {
                    empty.path = group.names.first().cloned().unwrap_or(empty.path);
                    self.empties.insert(id, empty);
                }
                continue;
            }
            // No pattern matches it any longer; it is followed as long as it is open.
            let Some(file) = empty.file.take() else {
                continue;
            };
            let Ok(metadata) = file.metadata() else {
                continue;
            };
            if metadata.len() > 0 {
                let stamp = Stamp::of(&metadata);
                let group = Group { id, stamp, names: vec![empty.path], claimed: false, former: Vec::new() };
                self.identify(&group, Some(file), now);
            } else if now.millis_since(empty.since) < super::rotation::LINGER_MS {
                empty.file = Some(file);
                self.empties.insert(id, empty);
            }
        }
    }

    /// Finds out what an unknown file is, and takes it in.
    fn identify(&mut self, group: &Group, file: Option<File>, now: Timestamp) {
        let Some(path) = group.names.first() else {
            return;
        };
        if let Err(error) = self.try_identify(group, path, file, now)
            && error.kind() != io::ErrorKind::NotFound
        {
            self.notices.stands(Notice::Unreadable { path: path.clone(), why: error.to_string() });
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
            let held = self.empties.values().filter(|empty| empty.file.is_some()).count();
            let file = Some(file).filter(|_| held < MAX_EMPTY_OPEN);
            self.empties.insert(group.id, Empty { path: path.to_owned(), file, since: now });
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
        same && now.millis_since(since) >= refresh
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
        source.file = Some(file);
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

impl Group {
    pub(super) fn of(id: FileId, stamp: Stamp, path: PathBuf) -> Self {
        Self { id, stamp, names: vec![path], claimed: false, former: Vec::new() }
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
