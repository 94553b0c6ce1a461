//! Where things live: which backend the configuration means, and which store a location names. Starts no stage.

use bytes::Bytes;
#[cfg(feature = "aws")]
use tokio::sync::OnceCell;

#[cfg(feature = "aws")]
use crate::backend::aws::{self, Aws, Clients, Object};
use crate::{
    app::{Error, Exit, settings},
    backend::{
        ReferenceStore, Sink, Version,
        embedded::{Embedded, reference::CsvFile},
    },
    clock::Clock,
    config::{BackendKind, Config, Stage},
};

/// How a location in S3 begins.
const S3: &str = "s3://";

/// The backend that a configuration means.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Embedded(Embedded),
    #[cfg(feature = "aws")]
    Aws(Aws),
}

impl Place {
    /// Opens it for `stages`. On this machine its file is created if `create`, and must be there otherwise.
    pub(crate) async fn open(
        config: &Config,
        create: bool,
        stages: &[Stage],
        clock: &Clock,
    ) -> Result<Self, Error> {
        match config.backend {
            BackendKind::Embedded => Ok(Self::Embedded(settings::embedded(config, create, clock).await?)),
            BackendKind::Aws => on_aws(config, stages, clock).await,
        }
    }
}

#[cfg(feature = "aws")]
async fn on_aws(config: &Config, stages: &[Stage], clock: &Clock) -> Result<Place, Error> {
    Ok(Place::Aws(aws(config, stages, clock).await?))
}

/// The AWS backend that a configuration means, for `stages`.
#[cfg(feature = "aws")]
pub(crate) async fn aws(config: &Config, stages: &[Stage], clock: &Clock) -> Result<Aws, Error> {
    on(clients().await?, config, stages, clock).await
}

/// One set of clients for the process: what finds region and credentials asks once.
#[cfg(feature = "aws")]
async fn clients() -> Result<Clients, Error> {
    static CLIENTS: OnceCell<Clients> = OnceCell::const_new();
    // The chain of sources of the SDK makes a large future.
    let made = CLIENTS.get_or_try_init(|| Box::pin(Clients::from_environment())).await;
    Ok(made?.clone())
}

/// As [`aws`], with these clients.
#[cfg(feature = "aws")]
pub(crate) async fn on(
    clients: Clients,
    config: &Config,
    stages: &[Stage],
    clock: &Clock,
) -> Result<Aws, Error> {
    Ok(Aws::open(clients, aws_settings(config, stages, clock)?).await?)
}

#[cfg(not(feature = "aws"))]
async fn on_aws(_config: &Config, _stages: &[Stage], _clock: &Clock) -> Result<Place, Error> {
    Err(without_aws("backend = \"aws\""))
}

/// What a build without the SDK says of what needs it.
#[cfg(not(feature = "aws"))]
pub(super) fn without_aws(what: &str) -> Error {
    Error::new(
        Exit::Config,
        format!("{what}: this logtally was built without AWS: build it with --features aws"),
    )
}

/// The AWS backend's settings; only a producer keeps anything on this machine.
#[cfg(feature = "aws")]
fn aws_settings(config: &Config, stages: &[Stage], clock: &Clock) -> Result<aws::Settings, Error> {
    let worker = getrandom::u64().map_err(|why| Error::new(Exit::Internal, why))?;
    let names = config.aws.clone();
    let local =
        if stages.contains(&Stage::Produce) { Some(settings::local(config, true, clock)?) } else { None };
    Ok(aws::Settings {
        input: names.input_stream,
        output: names.output_stream,
        table: names.table,
        ledger: names.ledger,
        bucket: names.bucket,
        pipeline: config.pipeline.as_str().to_owned(),
        namespace: config.deliver.namespace.clone(),
        in_doubt: config.deliver.in_doubt,
        window: config.analyze.window,
        compression: config.produce.compression,
        fan_out: names.fan_out,
        lease_ms: settings::millis(names.lease).unsigned_abs(),
        local,
        ..aws::Settings::new(format!("{worker:016x}"), clock.clone())
    })
}

/// Where reference data is kept: a file, or an object in S3.
#[derive(Debug)]
pub(crate) enum ReferencePlace {
    File(CsvFile),
    #[cfg(feature = "aws")]
    S3(Object),
}

impl ReferencePlace {
    /// The store that `location` names, `s3://bucket/key` or a path. Asks it nothing yet.
    pub(crate) async fn of(location: &str) -> Result<Self, Error> {
        if location.starts_with(S3) {
            return in_s3(location).await;
        }
        Ok(Self::File(CsvFile::new(location)))
    }
}

#[cfg(feature = "aws")]
async fn in_s3(location: &str) -> Result<ReferencePlace, Error> {
    let name = location.parse()?;
    Ok(ReferencePlace::S3(clients().await?.object(name)))
}

#[cfg(not(feature = "aws"))]
async fn in_s3(location: &str) -> Result<ReferencePlace, Error> {
    Err(without_aws(location))
}

impl ReferenceStore for ReferencePlace {
    async fn fetch<S: Sink>(
        &mut self,
        known: Option<&Version>,
        sink: S,
    ) -> crate::backend::Result<Option<(Version, S)>> {
        match self {
            Self::File(file) => file.fetch(known, sink).await,
            #[cfg(feature = "aws")]
            Self::S3(object) => object.fetch(known, sink).await,
        }
    }

    async fn replace(&mut self, expected: Option<&Version>, content: Bytes) -> crate::backend::Result<()> {
        match self {
            Self::File(file) => file.replace(expected, content).await,
            #[cfg(feature = "aws")]
            Self::S3(object) => object.replace(expected, content).await,
        }
    }
}
