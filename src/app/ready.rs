//! What the configuration names, read and compiled before anything is opened or created. Starts nothing.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    app::{Error, Exit, pipeline::Run, settings},
    backend::embedded::reference::CsvFile,
    config::{Config, Stage},
    engine::{alarm::Alarm, count::Plan},
    reference::Watched,
    webhook::WebhookUrl,
};

/// The stages that run, each with what it needs.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) produce: bool,
    pub(super) analyze: Option<(Arc<Plan>, Option<Watched<CsvFile>>)>,
    pub(super) deliver: Option<(Vec<Alarm>, BTreeMap<String, WebhookUrl>)>,
}

impl Ready {
    /// Looks at everything that the stages of `run` are told by `config`.
    pub(super) async fn of(run: &Run, config: &Config) -> Result<Self, Error> {
        let mut ready = Self::default();
        for &stage in &run.stages {
            match stage {
                Stage::Produce if config.produce.files.is_empty() && run.input.is_none() => {
                    let why = "nothing to produce: name files, or set files in [produce] of logtally.toml";
                    return Err(Error::new(Exit::Config, why));
                }
                Stage::Produce => ready.produce = true,
                Stage::Analyze => {
                    let plan = settings::plan(&config.analyze)?;
                    let reference = match &config.analyze.reference {
                        Some(location) => Some(settings::watched(location).await?),
                        None => None,
                    };
                    ready.analyze = Some((plan, reference));
                }
                Stage::Deliver => ready.deliver = Some((settings::alarms(config)?, webhooks(config)?)),
            }
        }
        Ok(ready)
    }
}

/// The webhooks by the names of their alarms.
fn webhooks(config: &Config) -> Result<BTreeMap<String, WebhookUrl>, Error> {
    let mut webhooks = BTreeMap::new();
    for alarm in &config.alarms {
        let Some(url) = &alarm.webhook else { continue };
        let url = url.expose().parse().map_err(|error| {
            Error::doing(format!("webhook of alarm \"{}\"", alarm.name), Exit::Config, error)
        })?;
        webhooks.insert(alarm.name.clone(), url);
    }
    Ok(webhooks)
}
