//! Random lives of log files against a model that knows which lines were written where.
//!
//! Every line is written once and has a text of its own, so the model says: each line comes out once, except that one
//! that nobody could read (truncated or deleted before the tailer saw it) may be missing. What comes out again after a
//! restart must come at the same place of the same generation; the rig holds that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
};

use logtally::tail::LINGER_MS;

use super::rig::{Rig, gzip, line, size, zstd};

/// A log with its way of rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Log {
    /// All its names match the pattern.
    Matched,
    /// Only the first name matches.
    Exact,
    /// A link leads to the newest of its files.
    Link,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Write(Log, usize),
    /// Some bytes of a line; the rest comes with the next bytes of this file.
    WritePart(Log),
    WriteOld(usize),
    Rotate(Log),
    CopyTruncate(Log, usize),
    Truncate(Log),
    Compress(Log, usize, bool),
    Delete(Log, usize),
    Hide,
    Show,
    Wait,
    Poll,
    PollALittle,
    /// Stop and start; without the states of the last polls, if not stored.
    Restart {
        stored: bool,
    },
}

/// The content of one file, in the words of the model: the numbers of the lines it holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) lines: Vec<usize>,
    /// Bytes of a line of this number that were written so far.
    pub(super) part: Option<(usize, usize)>,
    /// A tailer that runs has it open.
    pub(super) open: bool,
    /// A tailer has a state of it.
    pub(super) known: bool,
}

pub(super) struct Model {
    pub(super) rig: Rig,
    pub(super) next: usize,
    /// By name, relative to the root.
    pub(super) files: BTreeMap<String, Content>,
    /// Deleted, but open.
    pub(super) ghosts: Vec<Content>,
    pub(super) may_be_missing: BTreeSet<usize>,
    pub(super) hidden: bool,
    pub(super) links: usize,
}

pub(super) const LOGS: [Log; 3] = [Log::Matched, Log::Exact, Log::Link];

impl Log {
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Matched => "a",
            Self::Exact => "b",
            Self::Link => "c",
        }
    }
}

impl Model {
    pub(super) fn new() -> Self {
        let rig = Rig::new(&["a/a.log*", "b/b.log", "c/current"]);
        for log in LOGS {
            fs::create_dir(rig.path(log.directory())).unwrap();
        }
        let mut model = Self {
            rig,
            next: 0,
            files: BTreeMap::new(),
            ghosts: Vec::new(),
            may_be_missing: BTreeSet::new(),
            hidden: false,
            links: 0,
        };
        model.switch_link();
        model
    }

    pub(super) fn active(&self, log: Log) -> String {
        match log {
            Log::Matched => "a/a.log".to_owned(),
            Log::Exact => "b/b.log".to_owned(),
            Log::Link => format!("c/c.{}.log", self.links),
        }
    }

    /// Where a file is now.
    pub(super) fn real(&self, name: &str) -> String {
        if self.hidden { name.replacen("a/", "a.hidden/", 1) } else { name.to_owned() }
    }

    pub(super) fn old(&self, log: Log) -> Vec<String> {
        let active = self.active(log);
        let prefix = format!("{}/", log.directory());
        self.files.keys().filter(|name| name.starts_with(&prefix) && **name != active).cloned().collect()
    }

    pub(super) fn write(&mut self, name: &str, lines: usize) {
        let mut text = String::new();
        let content = self.files.entry(name.to_owned()).or_default();
        if let Some((number, written)) = content.part.take() {
            text += &line(number)[written..];
            content.lines.push(number);
        }
        for _ in 0..lines {
            text += &line(self.next);
            content.lines.push(self.next);
            self.next += 1;
        }
        self.rig.append(&self.real(name), &text);
    }

    pub(super) fn write_part(&mut self, name: &str) {
        let content = self.files.entry(name.to_owned()).or_default();
        if content.part.is_none() {
            let length = 1 + self.next * 7 % 50;
            content.part = Some((self.next, length));
            self.may_be_missing.insert(self.next);
            let text = line(self.next)[..length].to_owned();
            self.next += 1;
            self.rig.append(&self.real(name), &text);
        }
    }

    /// The numbers of lines that came out.
    pub(super) fn seen(&self) -> BTreeSet<usize> {
        self.rig.lines().iter().filter_map(|line| line.get(..6)?.parse().ok()).collect()
    }

    /// What of these was not read so far need not be read later.
    pub(super) fn excuse(&mut self, lines: &[usize]) {
        let seen = self.seen();
        self.may_be_missing.extend(lines.iter().filter(|number| !seen.contains(number)));
    }

    /// Numbers the old files of a log up, and the active one with them.
    pub(super) fn shift(&mut self, stem: &str, copy: bool) {
        let numbered: Vec<(usize, String)> = self
            .files
            .keys()
            .filter_map(|name| {
                let rest = name.strip_prefix(stem)?.strip_prefix('.')?;
                let (number, kind) = rest.split_once('.').unwrap_or((rest, ""));
                Some((number.parse().ok()?, kind.to_owned()))
            })
            .collect();
        for (number, kind) in numbered.into_iter().collect::<BTreeSet<_>>().into_iter().rev() {
            let dot = if kind.is_empty() { "" } else { "." };
            self.rename(&format!("{stem}.{number}{dot}{kind}"), &format!("{stem}.{}{dot}{kind}", number + 1));
        }
        if copy {
            self.rig.copy(&self.real(stem), &self.real(&format!("{stem}.1")));
        } else {
            self.rename(stem, &format!("{stem}.1"));
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.rig.rename(&self.real(from), &self.real(to));
        let content = self.files.remove(from).unwrap();
        self.files.insert(to.to_owned(), content);
    }

    pub(super) fn rotate(&mut self, log: Log) {
        let active = self.active(log);
        let Some(content) = self.files.get(&active).cloned() else {
            return;
        };
        if log != Log::Matched && !content.known {
            // It gets a name that no pattern matches before anybody saw it.
            self.excuse(&content.lines);
        }
        if log == Log::Link {
            self.switch_link();
        } else {
            self.shift(&active, false);
            self.files.insert(active.clone(), Content::default());
            self.rig.append(&self.real(&active), "");
        }
    }

    pub(super) fn switch_link(&mut self) {
        self.links += 1;
        let target = self.active(Log::Link);
        self.rig.append(&target, "");
        self.files.insert(target.clone(), Content::default());
        let link = self.rig.path("c/current");
        if self.links > 1 {
            fs::remove_file(&link).unwrap();
        }
        symlink(target.strip_prefix("c/").unwrap(), link).unwrap();
    }

    pub(super) fn copy_truncate(&mut self, log: Log, between: usize) {
        let active = self.active(log);
        if log == Log::Link || self.files.get(&active).is_none_or(|content| content.lines.is_empty()) {
            return;
        }
        let content = self.files[&active].clone();
        self.shift(&active, true);
        if log == Log::Exact && !content.known {
            self.excuse(&content.lines);
        }
        let copy = Content { open: false, ..content.clone() };
        self.files.insert(format!("{active}.1"), copy);
        self.write(&active, between);
        let written = self.files[&active].lines[content.lines.len()..].to_vec();
        self.empty(&active);
        self.excuse(&written);
    }

    pub(super) fn empty(&mut self, name: &str) {
        self.rig.truncate(&self.real(name), 0);
        let open = self.files[name].open;
        self.files.insert(name.to_owned(), Content { open, ..Content::default() });
    }

    pub(super) fn truncate(&mut self, log: Log) {
        let active = self.active(log);
        if let Some(content) = self.files.get(&active).cloned() {
            self.empty(&active);
            self.excuse(&content.lines);
        }
    }

    pub(super) fn compress(&mut self, log: Log, which: usize, gz: bool) {
        let old = self.old(log);
        let Some(name) =
            old.get(which % old.len().max(1)).filter(|name| !name.ends_with("gz") && !name.ends_with("zst"))
        else {
            return;
        };
        let content = self.files.remove(name).unwrap();
        let data = fs::read(self.rig.path(&self.real(name))).unwrap();
        let (packed, kind) = if gz { (gzip(&data), "gz") } else { (zstd(&data), "zst") };
        let new = format!("{name}.{kind}");
        fs::write(self.rig.path(&self.real(&new)), packed).unwrap();
        self.rig.delete(&self.real(name));
        self.files.insert(new, Content { open: false, ..content });
    }

    pub(super) fn delete(&mut self, log: Log, which: usize) {
        let old = self.old(log);
        let Some(name) = old.get(which % old.len().max(1)) else {
            return;
        };
        self.rig.delete(&self.real(name));
        let content = self.files.remove(name).unwrap();
        if content.open {
            self.ghosts.push(content);
        } else {
            self.excuse(&content.lines);
        }
    }

    pub(super) fn hide(&mut self, hide: bool) {
        if hide == self.hidden {
            return;
        }
        if hide {
            self.rig.rename("a", "a.hidden");
            fs::write(self.rig.path("a"), "").unwrap();
        } else {
            self.rig.delete("a");
            self.rig.rename("a.hidden", "a");
        }
        self.hidden = hide;
    }

    /// What the tailer can have seen by now.
    pub(super) fn after_poll(&mut self) {
        let actives = LOGS.map(|log| self.active(log));
        for (name, content) in &mut self.files {
            let visible = !(self.hidden && name.starts_with("a/"));
            let matched = name.starts_with("a/") || actives.contains(name);
            let packed = name.ends_with("gz") || name.ends_with("zst");
            let length = size(&self.rig.path(&if visible {
                name.clone()
            } else {
                name.replacen("a/", "a.hidden/", 1)
            }));
            content.open |= visible && matched && !packed;
            content.known |= visible && matched && length >= 16;
        }
    }

    pub(super) fn restart(&mut self, stored: bool) {
        if stored {
            self.rig.store();
        }
        self.rig.stop();
        for ghost in std::mem::take(&mut self.ghosts) {
            self.excuse(&ghost.lines);
        }
        self.files.values_mut().for_each(|content| content.open = false);
    }

    pub(super) fn wait(&mut self) {
        self.polls(3);
        self.rig.pass(LINGER_MS);
        self.polls(3);
        // What is not seen and quiet is closed by now.
        for (name, content) in &mut self.files {
            content.open &= !(self.hidden && name.starts_with("a/"));
        }
    }

    pub(super) fn polls(&mut self, times: usize) {
        for _ in 0..times {
            self.rig.poll();
            self.after_poll();
        }
    }
}
