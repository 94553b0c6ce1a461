//! Lines as Apache writes them, and a writer that rotates its log while it is read. Reads nothing.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use chrono::DateTime;
use flate2::{Compression, write::GzEncoder};
use logtally::clock::Clock;

use super::home::Home;

/// Lines written before the log is rotated.
const ROTATE_AFTER: u64 = 3_000;
/// Rotated logs that are kept: far more than a reader that is killed now and then leaves behind.
const KEEP: u64 = 200;
/// The latest line that a writer writes, in milliseconds.
const LATE_MS: u64 = 30 * 60_000;

const HOSTS: [&str; 6] =
    ["10.0.0.3", "10.0.1.7", "web.example.com", "10.9.9.9", "2001:db8::7", "stranger.example.net"];
const RESPONSES: [&str; 6] = ["200", "200", "304", "404", "500", "-"];

/// Pseudo-random numbers (`SplitMix64`), the same for the same seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

/// A combined line of `host`, stamped `ms` after the epoch.
pub(super) fn line(host: &str, ms: i64, number: u64, response: &str) -> String {
    let stamp = DateTime::from_timestamp_millis(ms).unwrap().format("%d/%b/%Y:%H:%M:%S +0000");
    format!(
        "{host} - - [{stamp}] \"GET /{number} HTTP/1.1\" {response} {} \"-\" \"test/1.0\"\n",
        number % 5_000
    )
}

/// Lines of one host, stamped now.
pub(super) fn lines(host: &str, count: u64) -> String {
    let now = Clock::system().now().as_millis();
    (0..count).map(|number| line(host, now, number, "200")).collect()
}

/// Mostly a line of about now; some are late, a few are none.
fn random_line(random: &mut Random, number: u64) -> String {
    let now = Clock::system().now().as_millis();
    match random.below(100) {
        0 => format!("no line of a log, {number}\n"),
        1 => format!(
            "10.0.0.3 - - [31/Foo/2026:00:00:00 +0000] \"GET /{number} HTTP/1.1\" 200 1 \"-\" \"-\"\n"
        ),
        2 => format!("10.0.0.3 - - [torn {number}\n"),
        kind => {
            let late = if kind < 15 { random.below(LATE_MS) } else { random.below(1_500) };
            let host = random.of(&HOSTS);
            line(host, now - i64::try_from(late).unwrap(), number, random.of(&RESPONSES))
        }
    }
}

/// How a writer's log is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    /// Renamed, and compressed one rotation later, as logrotate does it with `delaycompress`.
    Rename,
    /// Copied and emptied. Nothing is written between the two, so the copy holds everything.
    CopyTruncate,
}

/// A writer at work.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<String>,
}

impl Writer {
    pub(super) fn start(home: &Home, rotation: Rotation, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let log = home.path("access.log");
        let mut writing = Writing {
            file: File::options().append(true).create(true).open(&log).unwrap(),
            log,
            rotation,
            random: Random(seed),
            lines: 0,
            rotations: 0,
            truth: String::new(),
        };
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                writing.step();
                // About 10,000 lines a second, in bursts as servers write them.
                std::thread::sleep(Duration::from_millis(writing.random.below(10)));
            }
            writing.truth
        });
        Self { stop, thread }
    }

    /// Stops writing, and gives every line that was written.
    pub(super) fn stop(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

struct Writing {
    log: PathBuf,
    file: File,
    rotation: Rotation,
    random: Random,
    lines: u64,
    rotations: u64,
    truth: String,
}

impl Writing {
    fn step(&mut self) {
        // Sometimes a line comes in two pieces.
        let torn = self.random.below(4) == 0;
        self.write(50, torn);
        if self.lines / ROTATE_AFTER > self.rotations {
            self.rotations += 1;
            match self.rotation {
                Rotation::Rename => self.rename(),
                Rotation::CopyTruncate => self.copy_and_truncate(),
            }
            if let Some(old) = self.rotations.checked_sub(KEEP) {
                for name in [self.old(old), self.packed(old)] {
                    // The one or the other is there.
                    drop(fs::remove_file(name));
                }
            }
        }
    }

    /// Writes up to `most` lines; if `torn`, the last of them in two pieces.
    fn write(&mut self, most: u64, torn: bool) {
        let mut text = String::new();
        for _ in 0..=self.random.below(most) {
            text += &random_line(&mut self.random, self.lines);
            self.lines += 1;
        }
        self.truth += &text;
        let cut = if torn { text.len() - 9 } else { text.len() };
        let (first, second) = text.split_at(cut);
        for part in [first, second] {
            self.file.write_all(part.as_bytes()).unwrap();
        }
    }

    fn rename(&mut self) {
        fs::rename(&self.log, self.old(self.rotations)).unwrap();
        // The server goes on in the old file until it is told.
        self.write(20, false);
        self.file = File::options().append(true).create(true).open(&self.log).unwrap();
        let before = self.old(self.rotations - 1);
        if let Ok(data) = fs::read(&before) {
            let packed = File::create(self.packed(self.rotations - 1)).unwrap();
            let mut encoder = GzEncoder::new(packed, Compression::fast());
            encoder.write_all(&data).unwrap();
            encoder.finish().unwrap();
            fs::remove_file(before).unwrap();
        }
    }

    fn copy_and_truncate(&mut self) {
        fs::copy(&self.log, self.old(self.rotations)).unwrap();
        self.file.set_len(0).unwrap();
    }

    fn old(&self, rotation: u64) -> PathBuf {
        self.log.with_file_name(format!("access.log.{rotation}"))
    }

    fn packed(&self, rotation: u64) -> PathBuf {
        self.log.with_file_name(format!("access.log.{rotation}.gz"))
    }
}
