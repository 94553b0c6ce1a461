//! Random lives of log files against a model that knows which lines were written where.
//!
//! Every line is written once and has a text of its own, so the model says: each line comes out once, except that one
//! that nobody could read (truncated or deleted before the tailer saw it) may be missing. What comes out again after a
//! restart must come at the same place of the same generation; the rig holds that.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::unix::fs::symlink,
};

use logtally::tail::{LINGER_MS, SEARCH_MS};
use proptest::prelude::*;

use super::rig::{Rig, gzip, line, size, zstd};

/// A log with its way of rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Log {
    /// All its names match the pattern.
    Matched,
    /// Only the first name matches.
    Exact,
    /// A link leads to the newest of its files.
    Link,
}

#[derive(Clone, Copy, Debug)]
enum Action {
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
struct Content {
    lines: Vec<usize>,
    /// Bytes of a line of this number that were written so far.
    part: Option<(usize, usize)>,
    /// A tailer that runs has it open.
    open: bool,
    /// A tailer has a state of it.
    known: bool,
}

struct Model {
    rig: Rig,
    next: usize,
    /// By name, relative to the root.
    files: BTreeMap<String, Content>,
    /// Deleted, but open.
    ghosts: Vec<Content>,
    may_be_missing: BTreeSet<usize>,
    hidden: bool,
    links: usize,
}

const LOGS: [Log; 3] = [Log::Matched, Log::Exact, Log::Link];

impl Log {
    fn directory(self) -> &'static str {
        match self {
            Self::Matched => "a",
            Self::Exact => "b",
            Self::Link => "c",
        }
    }
}

impl Model {
    fn new() -> Self {
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

    fn active(&self, log: Log) -> String {
        match log {
            Log::Matched => "a/a.log".to_owned(),
            Log::Exact => "b/b.log".to_owned(),
            Log::Link => format!("c/c.{}.log", self.links),
        }
    }

    /// Where a file is now.
    fn real(&self, name: &str) -> String {
        if self.hidden { name.replacen("a/", "a.hidden/", 1) } else { name.to_owned() }
    }

    fn old(&self, log: Log) -> Vec<String> {
        let active = self.active(log);
        let prefix = format!("{}/", log.directory());
        self.files.keys().filter(|name| name.starts_with(&prefix) && **name != active).cloned().collect()
    }

    fn write(&mut self, name: &str, lines: usize) {
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

    fn write_part(&mut self, name: &str) {
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
    fn seen(&self) -> BTreeSet<usize> {
        self.rig.lines().iter().filter_map(|line| line.get(..6)?.parse().ok()).collect()
    }

    /// What of these was not read so far need not be read later.
    fn excuse(&mut self, lines: &[usize]) {
        let seen = self.seen();
        self.may_be_missing.extend(lines.iter().filter(|number| !seen.contains(number)));
    }

    /// Numbers the old files of a log up, and the active one with them.
    fn shift(&mut self, stem: &str, copy: bool) {
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

    fn rename(&mut self, from: &str, to: &str) {
        self.rig.rename(&self.real(from), &self.real(to));
        let content = self.files.remove(from).unwrap();
        self.files.insert(to.to_owned(), content);
    }

    fn rotate(&mut self, log: Log) {
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

    fn switch_link(&mut self) {
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

    fn copy_truncate(&mut self, log: Log, between: usize) {
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

    fn empty(&mut self, name: &str) {
        self.rig.truncate(&self.real(name), 0);
        let open = self.files[name].open;
        self.files.insert(name.to_owned(), Content { open, ..Content::default() });
    }

    fn truncate(&mut self, log: Log) {
        let active = self.active(log);
        if let Some(content) = self.files.get(&active).cloned() {
            self.empty(&active);
            self.excuse(&content.lines);
        }
    }

    fn compress(&mut self, log: Log, which: usize, gz: bool) {
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

    fn delete(&mut self, log: Log, which: usize) {
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

    fn hide(&mut self, hide: bool) {
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
    fn after_poll(&mut self) {
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

    fn restart(&mut self, stored: bool) {
        if stored {
            self.rig.store();
        }
        self.rig.stop();
        for ghost in std::mem::take(&mut self.ghosts) {
            self.excuse(&ghost.lines);
        }
        self.files.values_mut().for_each(|content| content.open = false);
    }

    fn wait(&mut self) {
        self.polls(3);
        self.rig.pass(LINGER_MS);
        self.polls(3);
        // What is not seen and quiet is closed by now.
        for (name, content) in &mut self.files {
            content.open &= !(self.hidden && name.starts_with("a/"));
        }
    }

    fn polls(&mut self, times: usize) {
        for _ in 0..times {
            self.rig.poll();
            self.after_poll();
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Write(log, lines) => self.write(&self.active(log), lines),
            Action::WritePart(log) => self.write_part(&self.active(log)),
            Action::WriteOld(which) => {
                let old = self.old(Log::Matched);
                let old: Vec<_> =
                    old.iter().filter(|name| name.ends_with(|end: char| end.is_ascii_digit())).collect();
                if let Some(name) = old.get(which % old.len().max(1)) {
                    // A copy that somebody writes to is a new log: not the subject here.
                    if self.files[*name].open {
                        self.write(name, 1);
                    }
                }
            }
            Action::Rotate(log) => self.rotate(log),
            Action::CopyTruncate(log, between) => self.copy_truncate(log, between),
            Action::Truncate(log) => self.truncate(log),
            Action::Compress(log, which, gz) => self.compress(log, which, gz),
            Action::Delete(log, which) => self.delete(log, which),
            Action::Hide => self.hide(true),
            Action::Show => self.hide(false),
            Action::Wait => self.wait(),
            Action::Poll => {
                self.rig.poll_unstored();
                self.after_poll();
            }
            Action::PollALittle => {
                self.rig.pass(1_000);
                self.rig.poll_once(1);
                self.after_poll();
            }
            Action::Restart { stored } => self.restart(stored),
        }
    }

    fn check(&self) {
        let mut count: HashMap<String, usize> = HashMap::new();
        for text in self.rig.lines() {
            *count.entry(text).or_default() += 1;
        }
        for number in 0..self.next {
            let whole = line(number);
            let times = count.remove(whole.trim_end()).unwrap_or(0);
            let excused = times == 0 && self.may_be_missing.contains(&number);
            assert!(times == 1 || excused, "line {number} came out {times} times: {:#?}", self.rig.notices);
        }
        for (text, times) in count {
            // A line that was never finished comes out as it is, once.
            let begun = self.may_be_missing.iter().any(|&number| line(number).starts_with(&text));
            assert!(begun && times == 1, "nobody wrote {text:?} {times} times: {:#?}", self.rig.notices);
        }
    }

    fn run(actions: &[Action]) {
        let mut model = Self::new();
        for &action in actions {
            model.act(action);
        }
        model.hide(false);
        model.polls(4);
        model.rig.pass(SEARCH_MS);
        model.polls(4);
        model.check();
        let lives = model.rig.lives.len();
        model.restart(true);
        model.polls(6);
        model.check();
        assert_eq!(model.rig.lives.len(), lives, "a restart finds nothing new");
    }
}

fn any_log() -> impl Strategy<Value = Log> {
    prop_oneof![3 => Just(Log::Matched), 2 => Just(Log::Exact), 1 => Just(Log::Link)]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (any_log(), 1_usize..6).prop_map(|(log, lines)| Action::Write(log, lines)),
        1 => (any_log(), 100_usize..200).prop_map(|(log, lines)| Action::Write(log, lines)),
        2 => any_log().prop_map(Action::WritePart),
        2 => (0_usize..4).prop_map(Action::WriteOld),
        3 => any_log().prop_map(Action::Rotate),
        2 => (any_log(), 0_usize..3).prop_map(|(log, between)| Action::CopyTruncate(log, between)),
        1 => any_log().prop_map(Action::Truncate),
        2 => (any_log(), 0_usize..4, any::<bool>()).prop_map(|(log, which, gz)| Action::Compress(log, which, gz)),
        1 => (any_log(), 0_usize..4).prop_map(|(log, which)| Action::Delete(log, which)),
        1 => Just(Action::Hide),
        2 => Just(Action::Show),
        1 => Just(Action::Wait),
        8 => Just(Action::Poll),
        2 => Just(Action::PollALittle),
        3 => any::<bool>().prop_map(|stored| Action::Restart { stored }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_line_comes_out_once(actions in prop::collection::vec(any_action(), 1..50)) {
        Model::run(&actions);
    }
}
