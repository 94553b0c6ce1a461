//! Which files the patterns match now. Opens none of them.
//!
//! A pattern is matched component by component, so that only directories are read that can hold a match. As in a
//! shell, a wildcard does not match a leading dot; `**` stands for any number of directories and follows no links.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    rc::Rc,
};

use globset::{GlobSet, GlobSetBuilder};

use crate::tail::{
    Settings, TailError,
    identity::{FileId, Stamp},
    notice::{Notice, Notices},
    pattern::{self, Part, Pattern},
};

/// How deep `**` goes.
pub const MAX_DEPTH: usize = 16;

/// Directory entries that one scan looks at.
pub const MAX_ENTRIES: usize = 200_000;

/// The configured patterns, compiled.
pub(crate) struct Patterns {
    compiled: Vec<Pattern>,
    exclude: GlobSet,
    exclude_names: GlobSet,
    follow_links: bool,
    private: Option<PathBuf>,
    /// Directory entries that one scan looks at.
    most_entries: usize,
}

/// A file that matches.
pub(crate) struct Found {
    pub(crate) id: FileId,
    pub(crate) stamp: Stamp,
    /// The name that matched, first, and where it leads if it is a link.
    pub(crate) names: Vec<PathBuf>,
}

/// What one scan found.
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) files: BTreeMap<PathBuf, Found>,
    /// The directories that can hold matches.
    pub(crate) directories: BTreeMap<PathBuf, FileId>,
}

impl Patterns {
    pub(crate) fn new(settings: &Settings) -> Result<Self, TailError> {
        let Settings { patterns, exclude, follow_links, private, .. } = settings;
        let mut paths = GlobSetBuilder::new();
        let mut names = GlobSetBuilder::new();
        for text in exclude {
            if text.contains('/') {
                paths.add(pattern::glob(text, &pattern::absolute(text)?)?);
            } else {
                names.add(pattern::glob(text, text)?);
            }
        }
        let build = |set: &GlobSetBuilder| {
            set.build().map_err(|error| TailError::pattern(&exclude.join(", "), error.kind()))
        };
        Ok(Self {
            compiled: patterns.iter().map(|text| Pattern::new(text)).collect::<Result<_, _>>()?,
            exclude: build(&paths)?,
            exclude_names: build(&names)?,
            follow_links: *follow_links,
            private: private.clone(),
            most_entries: MAX_ENTRIES,
        })
    }

    /// Whether nothing in this directory may be opened.
    pub(crate) fn is_private(&self, directory: &Path) -> bool {
        let private = self.private_id();
        private.is_some() && private == id(directory)
    }

    fn private_id(&self) -> Option<FileId> {
        self.private.as_deref().and_then(id)
    }

    /// Looks through the directories.
    pub(crate) fn list(&self, notices: &mut Notices) -> Listing {
        let mut walk = self.walk(notices);
        for pattern in &self.compiled {
            walk.matched = false;
            walk.descend(&pattern.base, &pattern.parts, 0);
            if !walk.matched {
                walk.notices.stands(Notice::NothingMatches { pattern: pattern.text.clone() });
            }
        }
        walk.listing
    }

    fn walk<'a>(&'a self, notices: &'a mut Notices) -> Walk<'a> {
        let roots = if self.follow_links {
            Vec::new()
        } else {
            self.compiled.iter().filter_map(|pattern| fs::canonicalize(&pattern.base).ok()).collect()
        };
        Walk {
            patterns: self,
            roots,
            private: self.private_id(),
            notices,
            entries: 0,
            directories: HashMap::new(),
            listing: Listing::default(),
            matched: false,
        }
    }

    fn excludes(&self, path: &Path) -> bool {
        self.exclude.is_match(path) || path.file_name().is_some_and(|name| self.exclude_names.is_match(name))
    }
}

/// The first plain path among the patterns at which nothing is. That a pattern matches nothing is told by the tailer.
///
/// # Errors
/// If a pattern cannot be understood.
pub fn missing(settings: &Settings) -> Result<Option<String>, TailError> {
    for text in &settings.patterns {
        if Pattern::new(text)?.is_plain() && fs::symlink_metadata(text).is_err() {
            return Ok(Some(text.clone()));
        }
    }
    Ok(None)
}

/// The files that `settings` would follow now, by path; opens none of them.
///
/// # Errors
/// If a pattern cannot be understood.
pub fn matches(settings: &Settings) -> Result<Vec<PathBuf>, TailError> {
    let patterns = Patterns::new(settings)?;
    Ok(patterns.list(&mut Notices::default()).files.into_keys().collect())
}

type Entries = Rc<Vec<(OsString, fs::FileType)>>;

struct Walk<'a> {
    patterns: &'a Patterns,
    /// Where links may lead; unused if they may lead anywhere.
    roots: Vec<PathBuf>,
    /// Where nothing may be opened.
    private: Option<FileId>,
    notices: &'a mut Notices,
    entries: usize,
    directories: HashMap<PathBuf, Entries>,
    listing: Listing,
    matched: bool,
}

impl Walk<'_> {
    fn descend(&mut self, directory: &Path, parts: &[Part], depth: usize) {
        let Some((part, rest)) = parts.split_first() else {
            return;
        };
        if !self.visit(directory) {
            return;
        }
        if let Part::Literal(name) = part {
            self.follow(&directory.join(name), None, rest, depth);
            return;
        }
        let any_depth = matches!(part, Part::AnyDepth);
        if any_depth {
            self.descend(directory, rest, depth);
        }
        for (name, kind) in self.read(directory).iter().filter(|(name, _)| part.matches(name)) {
            let path = directory.join(name);
            if !any_depth {
                self.follow(&path, Some(*kind), rest, depth);
            } else if kind.is_dir() && depth < MAX_DEPTH {
                self.descend(&path, parts, depth + 1);
            } else if kind.is_dir() {
                self.notices.stands(Notice::TooManyEntries { path });
            }
        }
    }

    /// A name that matches one part of a pattern; `kind` is absent if nobody looked yet.
    fn follow(&mut self, path: &Path, kind: Option<fs::FileType>, rest: &[Part], depth: usize) {
        let kind = kind.or_else(|| fs::symlink_metadata(path).ok().map(|metadata| metadata.file_type()));
        let Some(kind) = kind else {
            return;
        };
        if rest.is_empty() {
            self.candidate(path, kind);
        } else if kind.is_dir() || (kind.is_symlink() && path.is_dir() && self.leads_inside(path).is_some()) {
            self.descend(path, rest, depth);
        }
    }

    fn candidate(&mut self, path: &Path, kind: fs::FileType) {
        if self.patterns.excludes(path) || self.listing.files.contains_key(path) {
            self.matched = true;
            return;
        }
        let mut names = vec![path.to_owned()];
        let metadata = if kind.is_symlink() {
            match self.leads_inside(path) {
                Some(target) if target.parent().is_some_and(|parent| self.patterns.is_private(parent)) => {
                    return;
                }
                Some(target) => {
                    let metadata = fs::symlink_metadata(&target);
                    names.push(target);
                    metadata
                }
                None => return,
            }
        } else {
            // Not through a link that took the file's place in this moment: who opens it later compares.
            fs::symlink_metadata(path)
        };
        let metadata = match metadata {
            Ok(metadata) => metadata,
            // Rotated away between the listing and the look at it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !kind.is_symlink() => return,
            Err(error) => return self.unreadable(path, &error),
        };
        if let Some(kind) = refused(metadata.file_type()) {
            self.notices.stands(Notice::Refused { path: path.to_owned(), kind });
            return;
        }
        self.matched = true;
        let found = Found { id: FileId::of(&metadata), stamp: Stamp::of(&metadata), names };
        self.listing.files.insert(path.to_owned(), found);
    }

    /// Where a link leads, if that is allowed.
    fn leads_inside(&mut self, link: &Path) -> Option<PathBuf> {
        let target = match fs::canonicalize(link) {
            Ok(target) => target,
            Err(error) => {
                self.unreadable(link, &error);
                return None;
            }
        };
        if self.patterns.follow_links || self.roots.iter().any(|root| target.starts_with(root)) {
            return Some(target);
        }
        self.notices.stands(Notice::LeadsOut { path: link.to_owned() });
        None
    }

    /// Remembers a directory that can hold matches; false if nothing in it may be opened.
    fn visit(&mut self, directory: &Path) -> bool {
        if self.listing.directories.contains_key(directory) {
            return true;
        }
        let Ok(metadata) = fs::metadata(directory) else { return true };
        let id = FileId::of(&metadata);
        if self.private == Some(id) {
            return false;
        }
        self.listing.directories.insert(directory.to_owned(), id);
        true
    }

    /// The entries of a directory, each read once in a scan.
    fn read(&mut self, directory: &Path) -> Entries {
        if let Some(entries) = self.directories.get(directory) {
            return Rc::clone(entries);
        }
        let mut entries = Vec::new();
        match fs::read_dir(directory) {
            Ok(listed) => {
                for entry in listed.flatten() {
                    if self.entries >= self.patterns.most_entries {
                        self.notices.stands(Notice::TooManyEntries { path: directory.to_owned() });
                        break;
                    }
                    self.entries += 1;
                    if let Ok(kind) = entry.file_type() {
                        entries.push((entry.file_name(), kind));
                    }
                }
            }
            // A directory that is not there yet: the pattern matches nothing, which is told.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unreadable(directory, &error),
        }
        let entries = Rc::new(entries);
        self.directories.insert(directory.to_owned(), Rc::clone(&entries));
        entries
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let notice = Notice::Unreadable { path: path.to_owned(), why: error.to_string() };
        self.notices.stands(notice);
    }
}

fn id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|metadata| FileId::of(&metadata))
}

fn refused(kind: fs::FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_symlink() {
        Some("a link that was a file a moment ago")
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_bound_entries_are_not_looked_at_and_that_is_told() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..5 {
            fs::write(root.path().join(format!("{number}.log")), "").unwrap();
        }
        let settings = Settings::new(vec![root.path().join("*.log").to_str().unwrap().to_owned()]);
        let mut patterns = Patterns::new(&settings).unwrap();
        assert_eq!(patterns.most_entries, MAX_ENTRIES);
        for (most, found, told) in [(5, 5, false), (4, 4, true)] {
            patterns.most_entries = most;
            let mut notices = Notices::default();
            assert_eq!(patterns.list(&mut notices).files.len(), found);
            let too_many = |notice: &Notice| matches!(notice, Notice::TooManyEntries { .. });
            assert_eq!(notices.take().iter().any(too_many), told);
        }
    }

    #[test]
    fn a_link_that_takes_the_place_of_a_file_while_it_is_looked_at_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (log, outside) = (root.path().join("logs/a.log"), root.path().join("secret"));
        fs::create_dir(root.path().join("logs")).unwrap();
        fs::write(&outside, "secret\n").unwrap();
        fs::write(&log, "line\n").unwrap();
        let seen = fs::symlink_metadata(&log).unwrap().file_type();
        fs::remove_file(&log).unwrap();
        std::os::unix::fs::symlink(&outside, &log).unwrap();
        let settings = Settings::new(vec![log.to_str().unwrap().to_owned()]);
        let patterns = Patterns::new(&settings).unwrap();
        let mut notices = Notices::default();
        let mut walk = patterns.walk(&mut notices);
        walk.candidate(&log, seen);
        assert!(walk.listing.files.is_empty());
    }
}
