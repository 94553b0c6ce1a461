//! Wiring: settings to stages, the one match on the backend, the one shutdown. Counts nothing.

pub mod exit;
mod manual;
pub mod output;
mod progress;
mod replay;
mod replay_view;
mod settings;
pub mod signals;

use crate::{
    cli::{Cli, Command},
    config::Config,
};

pub use exit::{Error, Exit};

/// Does what the command line says, and says how it ended.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(cli: Cli, config: Config) -> Result<Exit, Error> {
    match cli.command {
        Command::Run(_) => not_built("run"),
        Command::Produce(_) => not_built("produce"),
        Command::Analyze(_) => not_built("analyze"),
        Command::Deliver(_) => not_built("deliver"),
        Command::Replay(args) => replay::command(args, config).await,
        Command::Report(_) => not_built("report"),
        Command::Reference(_) => not_built("reference"),
        Command::Parse(_) => not_built("parse"),
        Command::Check(_) => not_built("check"),
        Command::Status(_) => not_built("status"),
        Command::Audit(_) => not_built("audit"),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::pages(&args),
    }
}

fn not_built(command: &str) -> Result<Exit, Error> {
    Err(Error::new(Exit::Unavailable, format!("{command} is not built yet")))
}
