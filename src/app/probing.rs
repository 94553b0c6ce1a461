//! The command check on AWS: whether the services let the configured stages do what they do. Changes nothing.

use crate::{
    app::{Error, places, tools::Finding},
    backend,
    clock::Clock,
    config::{Config, Stage},
};

/// Tries everything that the configured stages do.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    // Without a stage nothing is opened, or created, on this machine.
    let aws = match places::aws(config, &[], &Clock::system()).await {
        Ok(aws) => aws,
        Err(error) => return vec![Finding::of("AWS", Err(error))],
    };
    let stages: Vec<backend::Stage> = config.stages.iter().map(stage).collect();
    let probes = aws.probe(&stages).await;
    probes.into_iter().map(|probe| Finding::of(&probe.what, probe.found.map_err(Error::from))).collect()
}

fn stage(stage: Stage) -> backend::Stage {
    match stage {
        Stage::Produce => backend::Stage::Produce,
        Stage::Analyze => backend::Stage::Analyze,
        Stage::Deliver => backend::Stage::Deliver,
    }
}
