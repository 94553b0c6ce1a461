//! Wiring: settings to stages, the one match on the backend, the one shutdown. Counts nothing.

mod agent;
mod agent_view;
#[cfg(feature = "aws")]
mod audit_aws;
mod balance;
#[cfg(feature = "aws")]
mod dry_run;
pub mod exit;
mod inspect;
#[cfg(feature = "aws")]
mod inspect_aws;
#[cfg(feature = "aws")]
pub mod lambda;
mod ledger;
mod manual;
pub mod output;
mod pipeline;
mod places;
#[cfg(feature = "aws")]
mod probing;
mod progress;
mod ready;
mod replay;
mod replay_view;
mod reporting;
mod settings;
pub mod signals;
mod stages;
mod tools;
#[cfg(feature = "aws")]
mod undelivered;

use std::pin::Pin;

use crate::{
    cli::{Cli, Command, ProduceArgs},
    config::{Config, ConfigError},
};

pub use exit::{Error, Exit};

/// What a program has to wait for. Boxed, for the compiler makes the code of a future where it first becomes a value of a
/// known type: that is once in this crate, and not once more in each program.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + 'a>>;

/// Does what the command line says, and says how it ended, or what went wrong, with its exit code. `reload` reads the
/// configuration again.
pub fn run<'a>(
    cli: Cli,
    config: Config,
    reload: &'a (dyn Fn() -> Result<Config, ConfigError> + Sync),
) -> Work<'a, Exit> {
    Box::pin(command(cli, config, reload))
}

async fn command(
    cli: Cli,
    config: Config,
    reload: &(dyn Fn() -> Result<Config, ConfigError> + Sync),
) -> Result<Exit, Error> {
    match cli.command {
        Command::Run(args) => pipeline::run(args, config, reload).await,
        Command::Produce(ProduceArgs { agent_config: Some(file), once, .. }) => {
            agent::produce(&file, once, config, reload).await
        }
        Command::Produce(args) => pipeline::produce(args, config, reload).await,
        Command::Analyze(args) => pipeline::analyze(args, config, reload).await,
        Command::Deliver(args) => pipeline::deliver(args, config, reload).await,
        Command::Replay(args) => replay::command(args, config).await,
        Command::Report(args) => reporting::command(args, config).await,
        Command::Reference(args) => tools::reference(args, config).await,
        Command::Parse(args) => tools::parse(args, config).await,
        Command::Check(args) => tools::check(args, config).await,
        Command::Convert(args) => agent_view::convert(&args),
        Command::Status(args) => inspect::status(args, config).await,
        Command::Audit(args) => inspect::audit(args, config).await,
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::pages(&args),
    }
}
