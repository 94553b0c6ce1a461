//! What the configuration names, read and compiled before anything is opened or created. Starts nothing.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    app::{Error, Exit, pipeline::Run, places::ReferencePlace, settings},
    config::{Config, Stage},
    engine::{alarm::Alarm, count::Plan},
    produce::Input,
    reference::Watched,
    tail,
    webhook::WebhookUrl,
};

/// The stages that run, each with what it needs.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) produce: Option<Input>,
    pub(super) analyze: Option<(Arc<Plan>, Option<Watched<ReferencePlace>>)>,
    pub(super) deliver: Option<(Vec<Alarm>, BTreeMap<String, WebhookUrl>)>,
}

impl Ready {
    /// Looks at everything that the stages of `run` are told by `config`.
    pub(super) async fn of(run: &Run, config: &Config) -> Result<Self, Error> {
        let mut ready = Self::default();
        for stage in run.stages(config) {
            match stage {
                Stage::Produce => {
                    ready.produce = Some(match &run.input {
                        Some(input) => input.clone(),
                        None => Input::Files(files(config, run.once)?),
                    });
                }
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

/// What to follow; patterns that cannot be understood are refused here, and files that are missing if nobody waits for
/// them.
fn files(config: &Config, once: bool) -> Result<tail::Settings, Error> {
    let files = settings::files(config)?;
    let refused = |error| Error::new(Exit::Config, error);
    tail::matches(&files).map_err(refused)?;
    match tail::missing(&files).map_err(refused)?.filter(|_| once) {
        Some(file) => {
            let why = format!("{file} does not exist: name a file that does, or wait for it without --once");
            Err(Error::new(Exit::Io, why))
        }
        None => Ok(files),
    }
}

/// The webhooks by the names of their alarms.
fn webhooks(config: &Config) -> Result<BTreeMap<String, WebhookUrl>, Error> {
    let mut webhooks = BTreeMap::new();
    for alarm in &config.alarms {
        if let Some(url) = settings::webhook(alarm)? {
            webhooks.insert(alarm.name.clone(), url);
        }
    }
    Ok(webhooks)
}
