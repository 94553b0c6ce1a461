//! A directory, a tailer over it, and what came out. Time passes only when it is told to.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use logtally::{
    engine::time::Timestamp,
    tail::{Notice, Polled, Settings, State, Tailer},
};
use tempfile::TempDir;

/// The bytes that came out of one life of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) start: u64,
    pub(super) data: Vec<u8>,
}

pub(super) struct Rig {
    pub(super) root: TempDir,
    pub(super) settings: Settings,
    tailer: Option<Tailer>,
    pub(super) now: Timestamp,
    pub(super) stored: BTreeMap<u64, Vec<u8>>,
    pub(super) lives: BTreeMap<u64, Life>,
    pub(super) notices: Vec<Notice>,
    /// Pieces handed out; a piece that comes again after a loss counts again.
    pub(super) pieces: usize,
}

pub(super) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(data: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(data, 1).unwrap()
}

impl Rig {
    /// A rig whose tailer reads `patterns` of its directory.
    pub(super) fn new(patterns: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |pattern: &&str| root.path().join(pattern).to_str().unwrap().to_owned();
        let mut settings = Settings::new(patterns.iter().map(path).collect());
        settings.refresh_ms = 0;
        Self::with(root, settings)
    }

    pub(super) fn with(root: TempDir, settings: Settings) -> Self {
        Self {
            root,
            settings,
            tailer: None,
            now: Timestamp::from_millis(4_000_000_000_000),
            stored: BTreeMap::new(),
            lives: BTreeMap::new(),
            notices: Vec::new(),
            pieces: 0,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(super) fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(super) fn copy(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
    }

    pub(super) fn truncate(&self, name: &str, length: u64) {
        OpenOptions::new().write(true).open(self.path(name)).unwrap().set_len(length).unwrap();
    }

    pub(super) fn delete(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Compresses as gzip does it: the new file first, then the old one goes.
    pub(super) fn compress(&self, name: &str) {
        let data = fs::read(self.path(name)).unwrap();
        fs::write(self.path(&format!("{name}.gz")), gzip(&data)).unwrap();
        self.delete(name);
    }

    pub(super) fn tailer(&mut self) -> &mut Tailer {
        if self.tailer.is_none() {
            let known: Vec<State> =
                self.stored.iter().map(|(&generation, state)| (generation, state.clone())).collect();
            self.tailer = Some(Tailer::open(self.settings.clone(), &known, self.now).unwrap());
        }
        self.tailer.as_mut().unwrap()
    }

    /// A second passes, and everything is read; the states are stored.
    pub(super) fn poll(&mut self) {
        self.poll_unstored();
        self.store();
    }

    pub(super) fn polls(&mut self, times: usize) {
        (0..times).for_each(|_| self.poll());
    }

    pub(super) fn poll_unstored(&mut self) {
        self.pass(1_000);
        while !self.poll_once(1 << 20).caught_up {}
    }

    pub(super) fn poll_once(&mut self, budget: usize) -> Polled {
        let now = self.now;
        let polled = self.tailer().poll(now, budget);
        for (generation, state) in &polled.born {
            // What a stage does that has no transaction: a generation is known before its first bytes are sent.
            self.stored.entry(*generation).or_default().clone_from(state);
        }
        self.pieces += polled.pieces.len();
        for piece in &polled.pieces {
            let life = self
                .lives
                .entry(piece.generation)
                .or_insert_with(|| Life { start: piece.start, data: Vec::new() });
            let at = usize::try_from(piece.start.checked_sub(life.start).expect("starts before its start"))
                .unwrap();
            assert!(at <= life.data.len(), "a gap before {} of {}", piece.start, piece.generation);
            assert_eq!(piece.end - piece.start, piece.data.len() as u64, "lines here are not cut");
            let again = piece.data.len().min(life.data.len() - at);
            assert!(life.data[at..at + again] == piece.data[..again], "other bytes at the same place");
            life.data.extend_from_slice(&piece.data[again..]);
        }
        self.notices.extend(polled.notices.iter().cloned());
        polled
    }

    pub(super) fn pass(&mut self, millis: i64) {
        self.now = self.now.plus_millis(millis);
    }

    pub(super) fn store(&mut self) {
        for (generation, state) in self.tailer().states() {
            if state.is_empty() {
                self.stored.remove(&generation);
            } else {
                self.stored.insert(generation, state);
            }
        }
    }

    /// Stops; the next poll starts again from what was stored.
    pub(super) fn stop(&mut self) {
        self.tailer = None;
    }

    /// All lines that came out, in order.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .lives
            .values()
            .flat_map(|life| {
                String::from_utf8_lossy(&life.data).lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        lines.sort();
        lines
    }

    /// Checks that exactly these numbered lines came out, each once.
    #[track_caller]
    pub(super) fn expect(&self, numbers: impl IntoIterator<Item = usize>) {
        let mut counts: BTreeMap<String, i32> = BTreeMap::new();
        for number in numbers {
            *counts.entry(line(number).trim_end().to_owned()).or_default() -= 1;
        }
        for line in self.lines() {
            *counts.entry(line).or_default() += 1;
        }
        counts.retain(|_, count| *count != 0);
        let wrong: Vec<_> = counts.iter().take(5).collect();
        assert!(wrong.is_empty(), "{} wrong: {wrong:#?} {:#?}", counts.len(), self.notices);
    }

    pub(super) fn has_notice(&self, wanted: impl Fn(&Notice) -> bool) -> bool {
        self.notices.iter().any(wanted)
    }
}

/// A line of its own.
pub(super) fn line(number: usize) -> String {
    format!("{number:06} 10.0.0.1 - - \"GET /{:010} HTTP/1.1\" 200 {:010}\n", number * 7919, number * 31)
}

pub(super) fn text(numbers: std::ops::Range<usize>) -> String {
    numbers.map(line).collect()
}

pub(super) fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}
