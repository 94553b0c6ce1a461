//! Replay as a property: its bytes depend on the logs alone, and its sums are those of counting at once. Starts no
//! process.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use flate2::{Compression, write::GzEncoder};
use logtally::{
    engine::{
        count::{Plan, TimeSource},
        format::LogFormat,
        reference::Reference,
        row::Output,
        time::{Timestamp, WindowSize},
    },
    replay::{self, Settings},
};
use proptest::prelude::*;
use rustix::fs::{CWD, Mode, mkfifoat};

const WINDOW: WindowSize = WindowSize::FIVE_MINUTES;
const DAY: &str = "24/Oct/2026";
const MIDNIGHT_MS: i64 = 1_792_800_000_000;
const HOSTS: &str = "Host,ApplicationName,Contact\n10.0.0.1,Billing,\n10.0.0.2,Billing,\n10.0.0.3,Search,\n";

/// Requests by window, application and response.
type Sums = BTreeMap<(i64, &'static str, u16), u64>;

#[derive(Clone, Debug)]
struct Line {
    host: u8,
    second: i64,
    status: u16,
    /// Long paths, so that few lines are many blocks.
    path: usize,
    malformed: bool,
}

impl Line {
    fn text(&self) -> String {
        let Self { host, second, status, path, malformed } = self;
        let stamp = format!("{DAY}:{:02}:{:02}:{:02} +0000", second / 3_600, second / 60 % 60, second % 60);
        let broken = if *malformed { "\u{1}" } else { "" };
        let path = "p".repeat(*path);
        format!("{broken}10.0.0.{host} - - [{stamp}] \"GET /{path} HTTP/1.1\" {status} 7\n")
    }

    fn application(&self) -> &'static str {
        match self.host {
            1 | 2 => "Billing",
            3 => "Search",
            _ => "Unknown",
        }
    }
}

/// One node's log: mostly in order, over some part of four hours.
fn log() -> impl Strategy<Value = Vec<Line>> {
    let path = prop_oneof![3 => 0..100_usize, 1 => 20_000..60_000_usize];
    let line = (1..6_u8, 0..300_i64, -400..400_i64, 200..203_u16, path, prop::bool::weighted(0.1));
    let lines = prop::collection::vec(line, 1..80);
    (1_000..8_000_i64, lines).prop_map(|(mut second, lines): (i64, Vec<_>)| {
        let line = |(host, step, jitter, status, path, malformed): (u8, i64, i64, u16, usize, bool)| {
            second = (second + step / 4).min(86_000);
            Line { host, second: (second + jitter).max(0), status, path, malformed }
        };
        lines.into_iter().map(line).collect()
    })
}

fn counted_at_once(logs: &[Vec<Line>]) -> (Sums, u64) {
    let (mut sums, mut malformed) = (Sums::new(), 0);
    for line in logs.iter().flatten() {
        if line.malformed {
            malformed += 1;
        } else {
            *sums.entry((line.second / 300, line.application(), line.status)).or_default() += 1;
        }
    }
    (sums, malformed)
}

/// Everything that a replay says, as text; and its sums.
fn replayed(files: Vec<PathBuf>, threads: usize, disorder_ms: i64) -> (String, Sums, u64) {
    let format = LogFormat::named("common").unwrap();
    let settings = Settings {
        files,
        plan: Arc::new(Plan { format, window: WINDOW, time: TimeSource::Event }),
        reference: Arc::new(Reference::parse(HOSTS.as_bytes()).unwrap().reference),
        disorder_ms,
        threads,
        zero_rows: true,
        top_hosts: 3,
    };
    let mut outputs = Vec::new();
    let summary = replay::run(&settings, &Arc::default(), |rows| {
        outputs.extend(rows);
        Ok(())
    });
    let summary = summary.unwrap();
    assert!(summary.counters.balance() && summary.broken.is_empty());
    let mut sums = Sums::new();
    for output in &outputs {
        let Output::Row(row) = output else { continue };
        if row.response_count > 0 {
            let window = row.window_start.millis_since(Timestamp::from_millis(MIDNIGHT_MS)) / 300_000;
            let application = ["Billing", "Search", "Unknown"]
                .into_iter()
                .find(|name| row.application_name == *name)
                .unwrap();
            *sums.entry((window, application, row.response.unwrap())).or_default() += row.response_count;
        }
    }
    let text = serde_json::to_string(&outputs).unwrap();
    let samples: Vec<_> = summary.samples.iter().collect();
    (format!("{text}{:?}{samples:?}", summary.counters), sums, summary.counters.malformed_lines())
}

/// How the bytes of a log reach its reader.
#[derive(Clone, Copy)]
enum Way {
    Plain,
    Gzip,
    /// A pipe that gives so many bytes at once.
    Pipe(usize),
}

fn written(directory: &Path, logs: &[Vec<Line>], way: Way) -> Vec<PathBuf> {
    fs::create_dir_all(directory).unwrap();
    let write = |(number, log): (usize, &Vec<Line>)| {
        let path = directory.join(number.to_string());
        let text: String = log.iter().map(Line::text).collect();
        match way {
            Way::Plain => fs::write(&path, text).unwrap(),
            Way::Gzip => {
                let mut gzip = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
                gzip.write_all(text.as_bytes()).unwrap();
                gzip.finish().unwrap();
            }
            Way::Pipe(piece) => {
                mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
                let path = path.clone();
                // It ends when the pipe was read to its end.
                thread::spawn(move || {
                    let mut pipe = File::options().write(true).open(path).unwrap();
                    text.as_bytes().chunks(piece).try_for_each(|piece| pipe.write_all(piece))
                });
            }
        }
        path
    };
    logs.iter().enumerate().map(write).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_replay_depends_on_the_logs_alone(
        logs in prop::collection::vec(log(), 1..5),
        // None of the shuffles is the identity only by chance: both ends are tried.
        (order, piece) in (any::<prop::sample::Index>(), 100..70_000_usize),
        disorder_ms in prop::sample::select(vec![0, 60_000, 3_600_000]),
    ) {
        // A log of which no line parses is refused, and that is another test.
        prop_assume!(logs.iter().all(|log| log.iter().any(|line| !line.malformed)));
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let files = written(&at("plain"), &logs, Way::Plain);
        let (expected, sums, malformed) = replayed(files.clone(), 1, disorder_ms);
        prop_assert_eq!((sums, malformed), counted_at_once(&logs));

        let mut turned = files.clone();
        turned.rotate_left(order.index(files.len()));
        let reversed: Vec<PathBuf> = files.iter().rev().cloned().collect();
        let gzip = written(&at("gzip"), &logs, Way::Gzip);
        let pipes = written(&at("pipes"), &logs, Way::Pipe(piece));
        for (what, files, threads) in [
            ("three threads", files, 3),
            ("another order", turned, 3),
            ("reversed", reversed, 1),
            ("compressed", gzip, 2),
            ("pipes", pipes, 3),
        ] {
            let (found, ..) = replayed(files, threads, disorder_ms);
            prop_assert!(found == expected, "{what} gave another result");
        }
    }
}
