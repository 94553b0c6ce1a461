//! A web server on a node: writes lines, and has its log rotated, copied away and compressed. Reads none.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use flate2::{Compression, write::GzEncoder};
use logtally::engine::{count::line_count, time::Timestamp};
use tokio::time::sleep;

use super::world::{State, World};

/// Host, number, milliseconds, status, bytes: the number makes every line unlike all others from its first bytes on.
pub(crate) const FORMAT: &str = "%l %h %{msec}t %>s %b";
/// Further ahead than the engine holds a window for.
const FAR_MS: i64 = 3 * 3_600_000;
/// Of this many old logs each keeps its name.
const MOST_OLD: usize = 8;

/// A log and the older ones beside it.
pub(crate) struct Log {
    world: Arc<World>,
    node: usize,
    directory: PathBuf,
    number: u64,
    /// The rest of a line of which the beginning was written.
    rest: Option<String>,
    /// How many old logs there are: `access.log.1` is the newest.
    old: usize,
}

impl Log {
    pub(crate) const fn new(world: Arc<World>, node: usize, directory: PathBuf) -> Self {
        Self { world, node, directory, number: 0, rest: None, old: 0 }
    }

    /// Writes until `end`.
    pub(crate) async fn keep(mut self, end: Timestamp) -> Self {
        while self.world.now() < end {
            let (action, wait_ms) = {
                let random = &mut self.world.lock().random;
                (random.below(40), random.below(self.world.plan.write_every_ms * 2))
            };
            match action {
                0 => self.rotate(),
                1 => self.copy_and_truncate(),
                2 | 3 => self.compress(),
                4 | 5 => self.begin_line(),
                _ => self.write(),
            }
            sleep(Duration::from_millis(wait_ms)).await;
        }
        self
    }

    fn active(&self) -> PathBuf {
        self.directory.join("access.log")
    }

    fn old(&self, number: usize) -> PathBuf {
        self.directory.join(format!("access.log.{number}"))
    }

    fn packed(&self, number: usize) -> PathBuf {
        self.directory.join(format!("access.log.{number}.gz"))
    }

    /// Writes some lines, after which every line is whole.
    pub(crate) fn write(&mut self) {
        let count = 1 + self.world.lock().random.below(4);
        let mut text = self.rest.take().unwrap_or_default();
        for _ in 0..count {
            text += &self.line();
        }
        self.append(&text);
    }

    /// Some bytes of a line; the rest comes with the next.
    fn begin_line(&mut self) {
        self.end_line();
        let line = self.line();
        // Less than 16 bytes tell no file from another.
        let length = {
            let random = &mut self.world.lock().random;
            18 + random.index(line.len() - 19)
        };
        let (begun, rest) = line.split_at(length);
        self.append(begun);
        self.rest = Some(rest.to_owned());
    }

    fn end_line(&mut self) {
        if let Some(rest) = self.rest.take() {
            self.append(&rest);
        }
    }

    fn line(&mut self) -> String {
        let now = self.world.now();
        let number = self.number;
        self.number += 1;
        let state = &mut *self.world.lock();
        let random = &mut state.random;
        let aside = match random.below(20) {
            0 => -i64::try_from(random.below(600_000)).unwrap_or_default(),
            1 => i64::try_from(random.below(60_000)).unwrap_or_default(),
            2 if random.below(4) == 0 => FAR_MS,
            _ => -i64::try_from(random.below(1_500)).unwrap_or_default(),
        };
        let stamp = now.as_millis() + aside;
        let host = state.hosts[random.index(state.hosts.len())].clone();
        let status = [200, 200, 200, 304, 404, 500][random.index(6)];
        let bytes = random.below(5_000);
        let line = match random.below(25) {
            0 => format!("{:02}{number:06} {host} no line of any format\n", self.node),
            _ => format!("{:02}{number:06} {host} {stamp} {status} {bytes}\n", self.node),
        };
        let last = if aside == FAR_MS { &mut state.last_far } else { &mut state.last_stamp };
        *last = stamp.max(*last);
        state.written.extend_from_slice(line.as_bytes());
        line
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.active()).expect("a log");
        file.write_all(text.as_bytes()).expect("room for a log");
        self.stamp(&file);
        self.note(&format!("writes {} bytes", text.len()));
    }

    /// Files are written at the world's time, too.
    fn stamp(&self, file: &File) {
        let now = u64::try_from(self.world.now().as_millis()).unwrap_or_default();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(now)).expect("a time for a log");
    }

    /// Makes room for one more old log.
    fn shift(&mut self) -> bool {
        let length = fs::metadata(self.active()).map_or(0, |metadata| metadata.len());
        if length == 0 || self.old >= MOST_OLD {
            return false;
        }
        self.end_line();
        for number in (1..=self.old).rev() {
            for (from, to) in
                [(self.old(number), self.old(number + 1)), (self.packed(number), self.packed(number + 1))]
            {
                if from.exists() {
                    fs::rename(from, to).expect("another name for an old log");
                }
            }
        }
        self.old += 1;
        true
    }

    fn rotate(&mut self) {
        if self.shift() {
            fs::rename(self.active(), self.old(1)).expect("another name for a log");
            self.stamp(&File::create(self.active()).expect("a new log"));
            self.world.lock().count("rotation");
            self.note("is rotated");
        }
    }

    /// What `logrotate` calls copytruncate, with nothing written between the two.
    fn copy_and_truncate(&mut self) {
        if self.shift() {
            fs::copy(self.active(), self.old(1)).expect("a copy of a log");
            let log = OpenOptions::new().write(true).open(self.active()).expect("a log");
            log.set_len(0).expect("an empty log");
            self.stamp(&log);
            self.stamp(&OpenOptions::new().append(true).open(self.old(1)).expect("a copy"));
            self.world.lock().count("copytruncate");
            self.note("is copied and truncated");
        }
    }

    fn compress(&self) {
        let plain = |number: &usize| self.old(*number).exists();
        let Some(number) = (1..=self.old).rev().find(plain) else { return };
        let packed = gzip(&self.old(number));
        fs::write(self.packed(number), packed).expect("room for a compressed log");
        self.stamp(&OpenOptions::new().append(true).open(self.packed(number)).expect("a compressed log"));
        fs::remove_file(self.old(number)).expect("an old log");
        self.world.lock().count("compression");
        self.note(&format!("{number} is compressed"));
    }

    fn note(&self, what: &str) {
        self.world.note(format_args!("log of node {} {what}", self.node));
    }
}

fn gzip(path: &Path) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&fs::read(path).expect("an old log")).expect("room in memory");
    encoder.finish().expect("room in memory")
}

impl State {
    /// How many lines were written.
    pub(crate) fn lines(&self) -> u64 {
        line_count(&self.written)
    }
}
