//! TOML, then environment, then flags: one [`Config`]. The only reader of the environment.
//!
//! [`load()`] is the way in; [`parse`] reads one text. A `Config` that exists is within its bounds: what is out of them
//! is refused with the file's line, the variable or the flag that said it. Log formats and alarm rules stay texts here,
//! because the engine compiles them.

pub mod agent;
mod aws;
pub mod environment;
mod keys;
mod load;
#[cfg(test)]
mod tests;
pub mod units;
mod values;

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::engine::{alarm::Missing, time::WindowSize};

pub use aws::{Aws, Compression, InDoubt};
pub use environment::{Function, Role};
pub use load::{Loaded, Override, load, parse};
pub use values::{
    BackendKind, DAY_MS, HOUR_MS, PipelineName, SECOND_MS, Secret, Stage, Start, StartMode, TimeSource,
};

/// The largest configuration file that is read, in bytes; a longer one is refused.
pub const MAX_FILE: u64 = 1024 * 1024;

/// The bounds of `record_bytes`: a record holds lines that start in one chunk of 512 KiB.
pub(crate) const RECORD_BYTES: (u64, u64) = (1024, 512 * 1024);

/// Everything that a pipeline is told. `logtally.example.toml` explains each key.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The pipeline's name, part of every row's id.
    pub pipeline: PipelineName,
    /// Where streams, state and metrics live.
    #[serde(deserialize_with = "values::choice")]
    pub backend: BackendKind,
    /// The directory of the embedded backend; see [`Config::state_dir`].
    pub state_dir: Option<PathBuf>,
    /// What `logtally run` runs.
    #[serde(deserialize_with = "values::stages")]
    pub stages: Stages,
    /// Where the AWS backend finds its streams and tables.
    pub aws: Aws,
    /// Files to input stream.
    pub produce: Produce,
    /// The streams themselves.
    pub stream: StreamConfig,
    /// Input stream to rows.
    pub analyze: Analyze,
    /// Rows to metrics.
    pub deliver: Deliver,
    /// Rules over the metrics, their names distinct.
    #[serde(rename = "alarm", deserialize_with = "values::alarms")]
    pub alarms: Vec<Alarm>,
}

/// The stages of `logtally run`, in the order of the data, each once, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stages(pub(crate) Vec<Stage>);

/// `[produce]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Produce {
    /// Files and glob patterns.
    pub files: Vec<String>,
    /// Patterns of files to leave alone; one without a slash matches names in any directory.
    pub exclude: Vec<String>,
    /// Where a file that was never seen before is read from.
    #[serde(deserialize_with = "values::choice")]
    pub start: Start,
    /// Whether links are followed while looking for files.
    pub follow_links: bool,
    /// A record is sent when it holds this many bytes.
    #[serde(deserialize_with = "values::record_bytes")]
    pub record_bytes: u64,
    /// A record is sent when it holds this many lines.
    pub record_lines: NonZeroU32,
    /// A record is sent when its first line waited this long.
    #[serde(deserialize_with = "values::duration::<1, {60 * SECOND_MS}, _>")]
    pub record_age: Duration,
    /// How the lines of a record travel on Kinesis.
    #[serde(deserialize_with = "values::choice")]
    pub compression: Compression,
    /// How often the patterns are looked at again.
    #[serde(deserialize_with = "values::duration::<10, HOUR_MS, _>")]
    pub refresh: Duration,
}

/// `[stream]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// Shards of the input stream, 1 to 64.
    #[serde(deserialize_with = "values::shards")]
    pub shards: u16,
    /// Shards of the output stream, 1 to 64.
    #[serde(deserialize_with = "values::shards")]
    pub output_shards: u16,
    /// How long records are kept.
    #[serde(deserialize_with = "values::duration::<SECOND_MS, {365 * DAY_MS}, _>")]
    pub retention: Duration,
    /// How large the streams may grow before producers wait.
    #[serde(deserialize_with = "values::stream_bytes")]
    pub max_bytes: u64,
}

/// `[analyze]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Analyze {
    /// The log format: a name or an Apache `LogFormat` string.
    pub format: String,
    /// The directive that names the client.
    pub client: String,
    /// Which time decides the window.
    #[serde(deserialize_with = "values::choice")]
    pub time: TimeSource,
    /// The windows' length.
    #[serde(deserialize_with = "values::window")]
    pub window: WindowSize,
    /// How long after a window's end its rows are held.
    #[serde(deserialize_with = "values::duration::<0, DAY_MS, _>")]
    pub allowed_lateness: Duration,
    /// Corrections are published at most this often.
    #[serde(deserialize_with = "values::duration::<0, DAY_MS, _>")]
    pub correction_interval: Duration,
    /// Where the reference data is; without it every host is unknown.
    pub reference: Option<String>,
    /// How often the reference data is looked at for a change.
    #[serde(deserialize_with = "values::duration::<100, DAY_MS, _>")]
    pub reference_refresh: Duration,
    /// How often a cut is saved; see [`Config::checkpoint_interval`].
    #[serde(deserialize_with = "values::optional_duration::<10, HOUR_MS, _>")]
    pub checkpoint_interval: Option<Duration>,
    /// Where a shard is read from at the start.
    #[serde(deserialize_with = "values::choice")]
    pub from: StartMode,
}

/// `[deliver]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deliver {
    /// The metrics' namespace, 1 to 255 of the characters that CloudWatch takes.
    #[serde(deserialize_with = "values::namespace")]
    pub namespace: String,
    /// What becomes of a call to CloudWatch whose answer was lost.
    #[serde(deserialize_with = "values::choice")]
    pub in_doubt: InDoubt,
}

/// One `[[alarm]]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// Its name, 1 to 255 printable characters.
    #[serde(deserialize_with = "values::alarm_name")]
    pub name: String,
    /// The rule, `Unknown > 100`.
    pub rule: String,
    /// What a window without data means.
    #[serde(default, deserialize_with = "values::choice")]
    pub missing: Missing,
    /// Called when the alarm changes.
    #[serde(default)]
    pub webhook: Option<Secret>,
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// As given.
        path: PathBuf,
        /// The cause below.
        source: std::io::Error,
    },
    /// Something says what cannot be.
    #[error("{origin}: {problem}")]
    Invalid {
        /// The file and line, the variable or the flag.
        origin: String,
        /// The thing and the remedy.
        problem: String,
    },
    /// Nothing says where the state is to live.
    #[error("no state directory: give --state-dir, set state_dir in logtally.toml, or set HOME")]
    NoStateDir,
}

impl Config {
    /// The directory that holds the pipeline's state.
    ///
    /// # Errors
    /// If neither file, environment nor flags name one, and there is no home directory.
    pub fn state_dir(&self) -> Result<&Path, ConfigError> {
        self.state_dir.as_deref().filter(|path| !path.as_os_str().is_empty()).ok_or(ConfigError::NoStateDir)
    }

    /// How often a cut is saved where no row is due: 1 s, and on AWS, where each is paid for, 15 s.
    #[must_use]
    pub fn checkpoint_interval(&self) -> Duration {
        let usual = match self.backend {
            BackendKind::Embedded => Duration::from_secs(1),
            BackendKind::Aws => Duration::from_secs(15),
        };
        self.analyze.checkpoint_interval.unwrap_or(usual)
    }
}

impl Stages {
    /// In the order of the data.
    pub fn iter(&self) -> impl Iterator<Item = Stage> {
        self.0.iter().copied()
    }
}

impl Default for Stages {
    fn default() -> Self {
        Self(vec![Stage::Produce, Stage::Analyze, Stage::Deliver])
    }
}

impl Default for Produce {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            exclude: Vec::new(),
            start: Start::Beginning,
            follow_links: false,
            record_bytes: RECORD_BYTES.1,
            record_lines: const { NonZeroU32::new(10_000).expect("not zero") },
            record_age: Duration::from_millis(200),
            compression: Compression::None,
            refresh: Duration::from_secs(1),
        }
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            shards: 2,
            output_shards: 1,
            retention: Duration::from_hours(24),
            max_bytes: 10 * 1024 * 1024 * 1024,
        }
    }
}

impl Default for Analyze {
    fn default() -> Self {
        Self {
            format: "combined".to_owned(),
            client: "%h".to_owned(),
            time: TimeSource::Event,
            window: WindowSize::FIVE_MINUTES,
            allowed_lateness: Duration::from_secs(10),
            correction_interval: Duration::from_mins(1),
            reference: None,
            reference_refresh: Duration::from_secs(10),
            checkpoint_interval: None,
            from: StartMode::LastStoppedPoint,
        }
    }
}

impl Default for Deliver {
    fn default() -> Self {
        Self { namespace: "Logtally".to_owned(), in_doubt: InDoubt::Keep }
    }
}
