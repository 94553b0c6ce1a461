//! The Lambda function: environment → config → telemetry → app. Decides nothing itself.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use logtally::{
    app::{Error, Exit, lambda},
    config::{self, environment::Environment},
    telemetry,
};

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(line) = error.line() {
                // Nobody is left to tell if standard error is gone.
                drop(writeln!(io::stderr(), "{line}"));
            }
            error.exit().into()
        }
    }
}

fn start() -> Result<(), Error> {
    let environment = Environment::of_process();
    let asked = environment.diagnostics();
    let refused = |error| Error::new(Exit::Config, error);
    // CloudWatch Logs takes lines of JSON apart.
    let format = asked.format.as_deref().unwrap_or("json").parse().map_err(refused)?;
    let filter = asked.filter.unwrap_or_else(|| "info".to_owned());
    telemetry::install(&telemetry::Settings { filter, format, color: false }).map_err(refused)?;
    let loaded = config::load(None, &environment, &[])?;
    for warning in loaded.warnings {
        tracing::warn!("{warning}");
    }
    // A function has a part of one core and one event at a time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lambda::run(loaded.config, environment.function()?))
}
