//! Values of the configuration: read from text, held to their bounds. Opens no file.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    config::{Alarm, RECORD_BYTES, Stages, units},
    engine::{alarm::Missing, time::WindowSize},
};

/// Milliseconds in a second, for bounds.
pub const SECOND_MS: u64 = 1_000;
/// Milliseconds in an hour, for bounds.
pub const HOUR_MS: u64 = 3_600 * SECOND_MS;
/// Milliseconds in a day, for bounds.
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// The most shards of one embedded stream.
const MAX_SHARDS: u16 = 64;
/// The bounds of `max_bytes`.
const STREAM_BYTES: (u64, u64) = (1 << 20, 1 << 50);
/// The longest name of an alarm and of a namespace, as in CloudWatch (`PutMetricAlarm`, `PutMetricData`).
const MAX_NAME: usize = 255;

/// A closed set of values with the names that users write.
pub(super) trait Choice: Copy + 'static {
    /// What it is, with its article.
    const WHAT: &'static str;
    /// Every value.
    const ALL: &'static [(&'static str, Self)];
}

/// Where streams, state and metrics live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendKind {
    /// One file on this machine.
    #[default]
    Embedded,
    /// Kinesis, DynamoDB, S3 and CloudWatch.
    Aws,
}

/// A stage of `logtally run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Files to input stream.
    Produce,
    /// Input stream to rows.
    Analyze,
    /// Rows to metrics.
    Deliver,
}

/// Where a file that was never seen before is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Its first byte.
    Beginning,
    /// Only what is written from now on.
    End,
}

/// Which time decides the window of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The request time in the line.
    Event,
    /// When the stream took the record.
    Arrival,
}

/// Where `analyze` starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StartMode {
    /// The oldest record kept.
    #[value(name = "TRIM_HORIZON")]
    TrimHorizon,
    /// Only what arrives from now on.
    #[value(name = "NOW")]
    Now,
    /// Where it stopped; on the first start the oldest record kept.
    #[value(name = "LAST_STOPPED_POINT")]
    LastStoppedPoint,
}

impl StartMode {
    /// The name that users write.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TrimHorizon => "TRIM_HORIZON",
            Self::Now => "NOW",
            Self::LastStoppedPoint => "LAST_STOPPED_POINT",
        }
    }
}

impl Choice for BackendKind {
    const WHAT: &'static str = "a backend";
    const ALL: &'static [(&'static str, Self)] = &[("embedded", Self::Embedded), ("aws", Self::Aws)];
}

impl Choice for Stage {
    const WHAT: &'static str = "a stage";
    const ALL: &'static [(&'static str, Self)] =
        &[("produce", Self::Produce), ("analyze", Self::Analyze), ("deliver", Self::Deliver)];
}

impl Choice for Start {
    const WHAT: &'static str = "a start";
    const ALL: &'static [(&'static str, Self)] = &[("beginning", Self::Beginning), ("end", Self::End)];
}

impl Choice for TimeSource {
    const WHAT: &'static str = "a time";
    const ALL: &'static [(&'static str, Self)] = &[("event", Self::Event), ("arrival", Self::Arrival)];
}

impl Choice for StartMode {
    const WHAT: &'static str = "a starting point";
    const ALL: &'static [(&'static str, Self)] = &[
        (Self::TrimHorizon.as_str(), Self::TrimHorizon),
        (Self::Now.as_str(), Self::Now),
        (Self::LastStoppedPoint.as_str(), Self::LastStoppedPoint),
    ];
}

impl Choice for Missing {
    const WHAT: &'static str = "a treatment of missing data";
    const ALL: &'static [(&'static str, Self)] = &[
        ("notBreaching", Self::NotBreaching),
        ("breaching", Self::Breaching),
        ("ignore", Self::Ignore),
        ("missing", Self::Missing),
    ];
}

/// A pipeline's name: 1 to 64 letters, digits, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PipelineName(String);

impl PipelineName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for PipelineName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl TryFrom<String> for PipelineName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if (1..=64).contains(&name.len()) && name.bytes().all(fits) {
            return Ok(Self(name));
        }
        Err(format!(
            "\"{}\" cannot name a pipeline; use 1 to 64 letters, digits, \"_\" and \"-\"",
            short(&name)
        ))
    }
}

/// A text that is never printed: a webhook's address, whose path is often its password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(String);

impl Secret {
    /// The text itself. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        match host {
            Some(host) if !host.is_empty() && url.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Self(url))
            }
            _ => Err(
                "a webhook is an address that begins with https:// or http:// (not shown: it may be secret)",
            ),
        }
    }
}

pub(super) fn choice<'de, T: Choice, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    choose(&String::deserialize(from)?).map_err(D::Error::custom)
}

fn choose<T: Choice>(text: &str) -> Result<T, String> {
    if let Some((_, value)) = T::ALL.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<String> = T::ALL.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    Err(format!("\"{}\" is not {}; write {}", short(text), T::WHAT, names.join(" or ")))
}

pub(super) fn stages<'de, D: Deserializer<'de>>(from: D) -> Result<Stages, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    let chosen: Result<Vec<Stage>, String> = names.iter().map(|name| choose(name)).collect();
    let mut stages = chosen.map_err(D::Error::custom)?;
    stages.sort_unstable();
    stages.dedup();
    if stages.is_empty() {
        return Err(D::Error::custom("no stage; name at least one of \"produce\", \"analyze\", \"deliver\""));
    }
    Ok(Stages(stages))
}

/// A duration of `MIN` to `MAX` milliseconds.
pub(super) fn duration<'de, const MIN: u64, const MAX: u64, D>(from: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(from)?;
    let duration = units::duration(&text).map_err(D::Error::custom)?;
    let (least, most) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    let (least, most) = (units::show_millis(MIN), units::show_millis(MAX));
    Err(out_of_bounds(&text, &least, &most))
}

/// A duration that need not be given.
pub(super) fn optional_duration<'de, const MIN: u64, const MAX: u64, D>(
    from: D,
) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    duration::<MIN, MAX, D>(from).map(Some)
}

pub(super) fn window<'de, D: Deserializer<'de>>(from: D) -> Result<WindowSize, D::Error> {
    let text = String::deserialize(from)?;
    let duration = units::duration(&text).map_err(D::Error::custom)?;
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    WindowSize::from_millis(millis).map_err(D::Error::custom)
}

fn size<'de, D: Deserializer<'de>>(from: D, (least, most): (u64, u64)) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    let size = units::size(&text).map_err(D::Error::custom)?;
    if (least..=most).contains(&size) {
        return Ok(size);
    }
    Err(out_of_bounds(&text, &units::show_bytes(least), &units::show_bytes(most)))
}

pub(super) fn record_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    size(from, RECORD_BYTES)
}

pub(super) fn stream_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    size(from, STREAM_BYTES)
}

pub(super) fn shards<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    let shards = i64::deserialize(from)?;
    match u16::try_from(shards) {
        Ok(count @ 1..=MAX_SHARDS) => Ok(count),
        _ => Err(D::Error::custom(format_args!("{shards} is out of bounds: from 1 to {MAX_SHARDS} shards"))),
    }
}

/// CloudWatch's rule for namespaces: letters, digits and `.-_/#:`, not `AWS/…`, which is its own.
pub(super) fn namespace<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#:".contains(&byte);
    let ours = !name.starts_with("AWS/");
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits) && ours {
        return Ok(name);
    }
    Err(D::Error::custom(format_args!(
        "\"{}\" cannot be a namespace; use 1 to 255 letters, digits and .-_/#: and do not begin with AWS/",
        short(&name)
    )))
}

pub(super) fn alarm_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    if (1..=MAX_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        return Ok(name);
    }
    Err(D::Error::custom(format_args!(
        "\"{}\" cannot name an alarm; use 1 to 255 printable characters",
        short(&name)
    )))
}

pub(super) fn alarms<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Alarm>, D::Error> {
    let alarms = Vec::<Alarm>::deserialize(from)?;
    let mut names: Vec<&str> = alarms.iter().map(|alarm| alarm.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(twice) => Err(D::Error::custom(format_args!(
            "two alarms are named \"{}\"; give each a name of its own",
            short(twice.first().unwrap_or(&""))
        ))),
        None => Ok(alarms),
    }
}

fn out_of_bounds<E: serde::de::Error>(text: &str, least: &str, most: &str) -> E {
    E::custom(format_args!("\"{text}\" is out of bounds: from {least} to {most}"))
}

/// As much of a bad value as a message shows.
pub(super) fn short(text: &str) -> String {
    const SHOWN: usize = 40;
    text.chars().take(SHOWN).collect()
}
