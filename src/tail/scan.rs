//! What a look at the directories means for the sources: known, renamed, replaced, gone, new. Reads no lines.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use crate::{
    engine::time::Timestamp,
    tail::{
        discovery::Listing,
        identity::{FileId, Stamp},
        notice::Notice,
        source::{Meeting, Place},
        tailer::Tailer,
    },
};

/// A file that the patterns match, under all its names.
pub(super) struct Group {
    pub(super) id: FileId,
    pub(super) stamp: Stamp,
    pub(super) names: Vec<PathBuf>,
    pub(super) claimed: bool,
    /// The sources that were in this file and are no longer.
    pub(super) former: Vec<u64>,
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
        self.unrested = false;
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
            let name = group.names.first();
            (std::cmp::Reverse(group.stamp.size), name.map(|name| name.as_os_str().len()), name.cloned())
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
        let known: HashSet<FileId> = self.sources.values().filter_map(|source| source.stored.id).collect();
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
            let was_open = source.file.is_some();
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
            self.keep_room(generation, was_open);
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
                group.former.extend(&empty.former);
                if !group.claimed && group.stamp.size == 0 {
                    group.claimed = true;
                    empty.since = now;
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
                let group =
                    Group { id, stamp, names: vec![empty.path], claimed: false, former: empty.former };
                self.identify(&group, Some(file), now);
            } else if now.millis_since(empty.since) < super::rotation::LINGER_MS {
                empty.file = Some(file);
                self.empties.insert(id, empty);
            }
        }
    }
}

impl Group {
    pub(super) fn of(id: FileId, stamp: Stamp, path: PathBuf) -> Self {
        Self { id, stamp, names: vec![path], claimed: false, former: Vec::new() }
    }
}
