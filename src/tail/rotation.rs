//! What becomes of sources whose file was rotated away: read to the end, found again elsewhere, forgotten.

use std::{
    collections::{BTreeSet, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    engine::time::Timestamp,
    tail::{
        discovery::Listing,
        identity::{FileId, Stamp},
        kinship::{self, Candidate, Kin},
        notice::Notice,
        open::Packing,
        scan::Group,
        source::{self, Place, Source},
        tailer::Tailer,
    },
};

/// How long a file that is deleted, or that no pattern matches any longer, is kept open after its last growth.
pub const LINGER_MS: i64 = 10 * 60_000;

/// Scans without growth after which a file whose writer moved on is over: its last line is handed out as it is.
pub const QUIET_SCANS: u32 = 2;

/// How long a lost file is looked for in its directory before it is called gone.
pub const SEARCH_MS: i64 = 10_000;

/// How long a file that is gone is remembered, should it come back.
pub const REMEMBER_MS: i64 = 24 * 3_600_000;

/// Files that are gone and remembered; beyond it those gone longest are forgotten first, with a notice.
pub const MAX_REMEMBERED: usize = 4_096;

/// Descriptors of files that are kept open, or half of what the process may have if that is less; beyond it files that
/// can be opened again by name are closed after each use. Of idle ones a quarter less.
pub const MAX_OPEN: usize = 512;

/// Directory entries looked at in one search for lost files.
const MAX_SEARCHED: usize = 10_000;

/// [`MAX_OPEN`], as far as the process may have so many.
pub(super) fn max_open() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = limit.map_or(u64::MAX, |limit| limit / 2);
    usize::try_from(half).unwrap_or(MAX_OPEN).clamp(1, MAX_OPEN)
}

impl Tailer {
    /// The end of a scan: sees what is over, searches what is lost, forgets what is gone for long.
    pub(super) fn settle(&mut self, listing: &Listing, now: Timestamp) {
        let quiet_ms = i64::from(QUIET_SCANS)
            .saturating_mul(i64::try_from(self.settings.refresh_ms).unwrap_or(i64::MAX));
        for source in self.sources.values_mut() {
            source.settle(quiet_ms, now);
        }
        self.search(listing, now);
        self.forget(now);
    }

    /// Looks for lost sources: in their copies, and then in their directories.
    fn search(&mut self, listing: &Listing, now: Timestamp) {
        let lost: Vec<u64> = self
            .sources
            .values()
            .filter(|source| source.place == Place::Lost && !source.stored.complete && !source.gone)
            .map(|source| source.generation)
            .collect();
        if lost.is_empty() {
            return;
        }
        let mut places: Vec<(FileId, Stamp, PathBuf)> = self
            .copies
            .iter()
            .filter(|(_, copy)| lost.contains(&copy.generation))
            .map(|(id, copy)| (*id, copy.stamp, copy.path.clone()))
            .collect();
        places.extend(self.unknown_nearby(&lost, listing));
        for (id, stamp, path) in places {
            let group = Group::of(id, stamp, path);
            // What cannot be looked at holds nothing for us; the scans tell of files that matter.
            let _ = self.try_continue(&lost, &group, now);
        }
        for generation in lost {
            self.give_up(generation, now);
        }
    }

    /// Files in and beside the directories of lost sources that belong to no source.
    fn unknown_nearby(&self, lost: &[u64], listing: &Listing) -> Vec<(FileId, Stamp, PathBuf)> {
        let taken: HashSet<FileId> = self
            .sources
            .values()
            .filter(|source| source.place != Place::Lost)
            .filter_map(|source| source.stored.id)
            .chain(self.copies.keys().copied())
            .chain(self.empties.keys().copied())
            .collect();
        let mut directories: BTreeSet<PathBuf> = listing.directories.keys().cloned().collect();
        for source in lost.iter().filter_map(|generation| self.sources.get(generation)) {
            directories.extend(source.path.parent().map(Path::to_owned));
        }
        let mut found = nearby(directories, |directory| !self.patterns.is_private(directory), MAX_SEARCHED);
        found.retain(|(id, _, _)| !taken.contains(id));
        found
    }

    /// Lets one of the lost sources go on in this file, if it is its continuation.
    fn try_continue(&mut self, lost: &[u64], group: &Group, now: Timestamp) -> io::Result<()> {
        let Some(path) = group.names.first() else {
            return Ok(());
        };
        let by_id = |source: &&mut Source| source.stored.id == Some(group.id);
        let known =
            lost.iter().any(|generation| self.sources.get_mut(generation).as_ref().is_some_and(by_id));
        let near = |source: &Source| source.names().iter().any(|name| kinship::names_are_near(name, path));
        if !known && !lost.iter().filter_map(|generation| self.sources.get(generation)).any(near) {
            return Ok(());
        }
        let file = source::open(path)?;
        let metadata = file.metadata()?;
        if FileId::of(&metadata) != group.id || !metadata.is_file() || metadata.len() == 0 {
            return Ok(());
        }
        let packing = kinship::packing(&file)?;
        if packing != Packing::Plain && !self.rests(group, now) {
            return Ok(());
        }
        let candidate = Candidate::new(path, &file, packing)?;
        let mut best = None;
        for generation in lost {
            let Some(source) = self.sources.get_mut(generation) else {
                continue;
            };
            let open = source.place == Place::Lost && !self.rejected.contains(&(group.id, *generation));
            if open && candidate.kin(source)? == Kin::Continuation {
                best = best.max(Some((source.stored.position, *generation)));
            }
        }
        if let Some((_, generation)) = best {
            self.adopt(generation, group, (packing, file), now);
        }
        Ok(())
    }

    fn give_up(&mut self, generation: u64, now: Timestamp) {
        let Some(source) = self.sources.get_mut(&generation) else {
            return;
        };
        if source.place != Place::Lost {
            return;
        }
        source.lost_scans += 1;
        if source.lost_scans < QUIET_SCANS || now.millis_since(source.lost_at) < SEARCH_MS {
            return;
        }
        source.gone = true;
        source.stored.let_go = true;
        source.changed = true;
        // Of a truncation it was told; it is a loss only if something is known to be lost.
        if source.unread > 0 || !source.replaced {
            self.notices.add(Notice::Gone {
                path: source.path.clone(),
                generation,
                position: source.stored.position,
                unread: source.unread,
            });
        }
    }

    /// Forgets sources that are gone for long, and their states with them.
    fn forget(&mut self, now: Timestamp) {
        let copied: HashSet<u64> = self.copies.values().map(|copy| copy.generation).collect();
        let mut gone: Vec<(Timestamp, u64, bool)> = Vec::new();
        for source in self.sources.values_mut() {
            if source.place != Place::Lost {
                continue;
            }
            if copied.contains(&source.generation) {
                source.changed |= source.stored.absent_since.take().is_some();
                continue;
            }
            if source.stored.absent_since.is_none() {
                source.stored.absent_since = Some(now);
                source.changed = true;
            }
            // Whoever starts after days, or with another clock, has not seen yet what becomes of it.
            let looked_for = now.millis_since(source.lost_at) >= SEARCH_MS;
            gone.push((source.stored.absent_since.unwrap_or(now), source.generation, looked_for));
        }
        gone.sort_unstable();
        let surplus = gone.len().saturating_sub(MAX_REMEMBERED);
        for (index, (since, generation, looked_for)) in gone.into_iter().enumerate() {
            if index >= surplus && !(looked_for && now.millis_since(since) >= REMEMBER_MS) {
                continue;
            }
            if let Some(source) = self.sources.remove(&generation) {
                self.notices.add(Notice::Forgotten { path: source.path, generation });
                self.forgotten.push(generation);
                self.rejected.retain(|&(_, rejected)| rejected != generation);
            }
        }
    }

    /// Whether a later look may find more though nobody writes: a compressed file has to rest, a lost one is looked for,
    /// a last line waits to be over.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.unrested || self.sources.values().any(Source::is_settling)
    }

    pub(super) fn open_files(&self) -> usize {
        self.sources.values().filter(|source| source.file.is_some()).count()
    }

    pub(super) fn is_open(&self, generation: u64) -> bool {
        self.sources.get(&generation).is_some_and(|source| source.file.is_some())
    }

    /// Closes a file again that was opened for a moment, if too many are open.
    pub(super) fn keep_room(&mut self, generation: u64, was_open: bool) {
        if was_open || !self.is_open(generation) || self.open_files() <= self.max_open {
            return;
        }
        if let Some(source) = self.sources.get_mut(&generation)
            && source.place == Place::Listed
        {
            source.file = None;
        }
    }

    /// Closes the files that were not read for longest, of those that their name finds again, so that there is room
    /// for others.
    pub(super) fn close_idle(&mut self) {
        let surplus = self.open_files().saturating_sub(self.max_open - self.max_open / 4);
        if surplus == 0 {
            return;
        }
        let mut idle: Vec<(u64, u64)> = self
            .sources
            .values()
            .filter(|source| source.place == Place::Listed && !source.pending && source.file.is_some())
            .map(|source| (source.used, source.generation))
            .collect();
        idle.sort_unstable();
        for (_, generation) in idle.into_iter().take(surplus) {
            if let Some(source) = self.sources.get_mut(&generation) {
                source.file = None;
            }
        }
    }
}

impl Source {
    fn is_settling(&self) -> bool {
        match self.place {
            Place::Unknown => true,
            Place::Lost => !self.stored.complete && !self.gone,
            Place::Listed | Place::Unlisted | Place::Deleted if self.is_packed() => {
                self.pending || (self.stamp.is_some() && self.stored.finished_at != self.stamp)
            }
            Place::Listed | Place::Unlisted | Place::Deleted => {
                self.stored.displaced && self.stamp.is_some_and(|stamp| stamp.size > self.stored.position)
            }
        }
    }

    /// Sees whether the file is over.
    fn settle(&mut self, quiet_ms: i64, now: Timestamp) {
        let quiet = now.millis_since(self.grown_at);
        let over = self.quiet >= QUIET_SCANS && quiet >= quiet_ms && !self.pending;
        if self.place == Place::Lost || self.is_packed() {
            return;
        }
        let left = self.stamp.map_or(0, |stamp| stamp.size.saturating_sub(self.stored.position));
        if over && self.stored.displaced && left > 0 && !self.flush {
            self.flush = true;
            self.pending = true;
        }
        let hidden = matches!(self.place, Place::Deleted | Place::Unlisted);
        if over && left == 0 && self.place == Place::Deleted && !self.stored.complete {
            self.stored.complete = true;
            self.changed = true;
        }
        if over && hidden && left == 0 && quiet >= LINGER_MS {
            let deleted = self.place == Place::Deleted;
            self.lose(now);
            if deleted {
                self.stored.id = None;
            } else {
                self.stored.let_go = true;
                self.gone = true;
            }
        }
    }
}

/// The files in these directories and in those directly beneath, of the first `left` entries.
fn nearby(
    mut directories: BTreeSet<PathBuf>,
    may_look: impl Fn(&Path) -> bool,
    mut left: usize,
) -> Vec<(FileId, Stamp, PathBuf)> {
    let mut found = Vec::new();
    let mut beneath = BTreeSet::new();
    directories.retain(|directory| may_look(directory));
    for directory in &directories {
        look_into(directory, &mut left, &mut found, Some(&mut beneath));
    }
    for directory in beneath.difference(&directories).filter(|directory| may_look(directory)) {
        look_into(directory, &mut left, &mut found, None);
    }
    found
}

fn look_into(
    directory: &Path,
    left: &mut usize,
    found: &mut Vec<(FileId, Stamp, PathBuf)>,
    mut beneath: Option<&mut BTreeSet<PathBuf>>,
) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_file() {
            found.push((FileId::of(&metadata), Stamp::of(&metadata), entry.path()));
        } else if metadata.is_dir()
            && let Some(beneath) = &mut beneath
        {
            beneath.insert(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_bound_entries_are_not_searched() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for directory in ["a", "b", "b/beneath", "b/private"] {
            fs::create_dir(path(directory)).unwrap();
        }
        for file in ["a/1", "a/2", "b/3", "b/beneath/4", "b/beneath/5", "b/private/6"] {
            fs::write(path(file), file).unwrap();
        }
        let found = |most| {
            let directories = ["a", "b", "b/private"].map(path).into();
            let found = nearby(directories, |directory| !directory.ends_with("private"), most);
            let mut files: Vec<PathBuf> = found
                .into_iter()
                .map(|(_, _, file)| file.strip_prefix(root.path()).unwrap().to_owned())
                .collect();
            files.sort();
            files
        };
        let all = ["a/1", "a/2", "b/3", "b/beneath/4", "b/beneath/5"].map(PathBuf::from);
        // Two entries in one, three in the other, two beneath.
        assert_eq!(found(7), all);
        assert_eq!(found(5), all[..3]);
        for (most, files) in [(6, 4), (2, 2), (1, 1), (0, 0)] {
            assert_eq!(found(most).len(), files, "{most}");
        }
    }
}
