//! Configuration to what the stages take: compiles what the configuration keeps as text. Reads no environment.

use std::sync::Arc;

use crate::{
    app::{Error, Exit, places::ReferencePlace},
    backend::embedded::{self, Embedded},
    clock::Clock,
    config::{self, Config},
    engine::{
        alarm::{Alarm, RuleError},
        count::{Plan, TimeSource},
        format::{FormatError, LogFormat},
        reference::Reference,
    },
    reference::{self, Watched},
    tail,
    webhook::WebhookUrl,
};

/// The name of the embedded file in the state directory.
pub(crate) const FILE: &str = "logtally.db";

/// Which files are followed, and how.
pub(crate) fn files(config: &Config) -> Result<tail::Settings, Error> {
    let produce = &config.produce;
    if produce.files.is_empty() {
        let why = "nothing to produce: name files, or set files in [produce] of logtally.toml";
        return Err(Error::new(Exit::Config, why));
    }
    Ok(tail::Settings {
        exclude: produce.exclude.clone(),
        start: match produce.start {
            config::Start::Beginning => tail::Start::Beginning,
            config::Start::End => tail::Start::End,
        },
        follow_links: produce.follow_links,
        private: Some(config.state_dir()?.to_owned()),
        refresh_ms: millis(produce.refresh).unsigned_abs(),
        ..tail::Settings::new(produce.files.clone())
    })
}

/// How lines are read and grouped.
pub(crate) fn plan(analyze: &config::Analyze) -> Result<Arc<Plan>, Error> {
    let format = format(&analyze.format, &analyze.client)?;
    let time = match analyze.time {
        config::TimeSource::Event => TimeSource::Event,
        config::TimeSource::Arrival => TimeSource::Arrival,
    };
    if time == TimeSource::Event && !format.has_time() {
        let why = "the log format holds no time: add %t (live stages can also go by time = \"arrival\")";
        return Err(Error::new(Exit::Config, why));
    }
    Ok(Arc::new(Plan { format, window: analyze.window, time }))
}

/// A log format and the directive that names the client.
pub(crate) fn format(format: &str, client: &str) -> Result<LogFormat, Error> {
    let refused = |what, text, FormatError { position, reason }| {
        Error::new(Exit::Config, format!("{what} \"{text}\", byte {position}: {reason}"))
    };
    let compiled: LogFormat = format.parse().map_err(|error| refused("log format", format, error))?;
    if client == "%h" {
        return Ok(compiled);
    }
    compiled.with_client(client).map_err(|error| refused("client", client, error))
}

/// The reference data at `location`, read once; without one every host is unknown.
pub(crate) async fn reference(location: Option<&str>) -> Result<Arc<Reference>, Error> {
    match location {
        None => Ok(Arc::default()),
        Some(location) => Ok(watched(location).await?.current()),
    }
}

/// The reference data at `location`, to be kept in force.
pub(crate) async fn watched(location: &str) -> Result<Watched<ReferencePlace>, Error> {
    let named = |error| match error {
        reference::Error::Refused(why) => Error::new(Exit::Data, format!("{location}: {why}")),
        error => error.into(),
    };
    Watched::open(ReferencePlace::of(location).await?).await.map_err(named)
}

/// The configured alarms.
pub(crate) fn alarms(config: &Config) -> Result<Vec<Alarm>, Error> {
    let alarm = |alarm: &config::Alarm| {
        let rule = alarm.rule.parse().map_err(|error: RuleError| {
            Error::doing(format!("alarm \"{}\"", alarm.name), Exit::Config, error)
        })?;
        Ok(Alarm::new(alarm.name.clone(), rule, alarm.missing, config.analyze.window))
    };
    config.alarms.iter().map(alarm).collect()
}

/// Where an alarm's changes are posted.
pub(crate) fn webhook(alarm: &config::Alarm) -> Result<Option<WebhookUrl>, Error> {
    let Some(url) = &alarm.webhook else { return Ok(None) };
    let what = || format!("webhook of alarm \"{}\"", alarm.name);
    url.expose().parse().map(Some).map_err(|error| Error::doing(what(), Exit::Config, error))
}

/// Opens the embedded file in the state directory; `create` it where it is missing.
pub(crate) async fn embedded(config: &Config, create: bool, clock: &Clock) -> Result<Embedded, Error> {
    Ok(Embedded::open(local(config, create, clock)?).await?)
}

/// How to open the embedded file.
pub(crate) fn local(config: &Config, create: bool, clock: &Clock) -> Result<embedded::Settings, Error> {
    Ok(embedded::Settings {
        create,
        input_shards: config.stream.shards.into(),
        output_shards: config.stream.output_shards.into(),
        retention_ms: millis(config.stream.retention),
        max_bytes: config.stream.max_bytes,
        machine: machine(),
        ..embedded::Settings::new(config.state_dir()?.join(FILE), clock.clone())
    })
}

/// A duration of the configuration in whole milliseconds; all of them fit.
pub(crate) fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What tells this machine from a clone of it, as systemd defines it (machine-id(5)); empty if nothing does.
fn machine() -> String {
    std::fs::read_to_string("/etc/machine-id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
