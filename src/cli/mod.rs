//! The command line, as clap types. Does nothing.
//!
//! One struct a command, in [`commands`]. What a flag shares with the configuration becomes an
//! [`Override`](crate::config::Override), so that flags win over the environment and that over the file.

#![expect(clippy::doc_markdown, reason = "clap prints these comments as help, which is no Markdown")]

pub mod commands;
mod overrides;
mod values;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{config::agent::MAX_FLOWS, render::Format};
pub use commands::{
    AnalyzeArgs, AuditArgs, CheckArgs, CompletionsArgs, ConvertArgs, DeliverArgs, ManArgs, ParseArgs,
    ProduceArgs, ReferenceAction, ReferenceArgs, ReplayArgs, ReportArgs, RunArgs, StatusArgs,
};

pub use values::Moment;

/// The exit code of a command line that cannot be understood (`EX_USAGE` of sysexits).
const USAGE: u8 = 64;
/// The exit code where help cannot be printed (`EX_IOERR`).
const IO: u8 = 74;

/// The SDK warns of each source of credentials and regions that it looks for in vain; what is missing is said once, by
/// the error.
const CHAIN: &str = "aws_config=error";

const AFTER_HELP: &str = "\
Examples:
  logtally replay access.log --reference hosts.csv     who called what, from a log at rest
  logtally run                                         the pipeline, as logtally.toml says
  logtally report --since 1h                           what the running pipeline counted

Exit codes:
  0 done; 1 a difference or an alarm was found; 64 usage; 65 bad data; 69 unavailable; 70 internal;
  74 input or output; 78 configuration. A reader that closes standard output early (| head) is no error.

Environment:
  LOGTALLY_CONFIG                where the configuration is
  LOGTALLY_<TABLE>_<KEY>         any key of it, for example LOGTALLY_ANALYZE_WINDOW=1m
  LOGTALLY_LOG                   which diagnostics are shown, for example logtally=debug
  LOGTALLY_LOG_FORMAT            text or json
  NO_COLOR                       no colours";

/// Who is calling my applications? Counts requests per application from Apache access logs, exactly.
///
/// Logtally tails access logs, joins each client host with the application that owns it, counts requests per
/// application in windows of five minutes, and publishes the counts as metrics with alarms. A host that nobody owns is
/// counted as Unknown, and named.
#[derive(Debug, Parser)]
#[command(name = "logtally", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: $LOGTALLY_CONFIG, ./logtally.toml, /etc/logtally/logtally.toml, or none]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where streams, positions and metrics are kept [default: as configured]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// Say more on standard error; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// How results are printed
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Output")]
    pub format: Format,
}

/// The commands, in the order of the data and of need.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The pipeline in one process
    Run(RunArgs),
    /// Access logs to the input stream
    Produce(ProduceArgs),
    /// The input stream to counts per application and window
    Analyze(AnalyzeArgs),
    /// Counts to metrics and alarms
    Deliver(DeliverArgs),
    /// Log files to counts at full speed, without a pipeline
    Replay(ReplayArgs),
    /// Requests per application, from the metrics
    Report(ReportArgs),
    /// Add, remove and list hosts and the applications that own them
    Reference(ReferenceArgs),
    /// Each line's fields as JSON
    Parse(ParseArgs),
    /// Look at configuration, reference data and logs without moving anything
    Check(CheckArgs),
    /// The configuration of an Amazon Kinesis Agent as one of Logtally
    Convert(ConvertArgs),
    /// Positions, lag and open windows
    Status(StatusArgs),
    /// Prove that every line read is accounted for
    Audit(AuditArgs),
    /// A completion script for a shell
    Completions(CompletionsArgs),
    /// Manual pages
    Man(ManArgs),
}

impl Cli {
    /// Reads this process's arguments. Help, the version, and what is wrong with the arguments are printed, and the
    /// exit code is what remains.
    ///
    /// # Errors
    /// The exit code, where there is nothing more to do: 0, or 64 for a command line that cannot be understood.
    pub fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            let printed = error.print().and_then(|()| io::stdout().flush());
            match printed {
                _ if error.use_stderr() => ExitCode::from(USAGE),
                Err(why) if why.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(IO),
                _ => ExitCode::SUCCESS,
            }
        })
    }

    /// Which diagnostics are shown: what `-v` says, else `configured`, else progress of services and warnings.
    #[must_use]
    pub fn filter(&self, configured: Option<String>) -> String {
        match (self.global.verbose, configured) {
            (0, Some(configured)) => configured,
            (0, None) if self.command.is_service() => format!("logtally=info,warn,{CHAIN}"),
            (0, None) => format!("warn,{CHAIN}"),
            (1, _) => "logtally=debug,info".to_owned(),
            (2.., _) => "trace".to_owned(),
        }
    }

    /// The command line's description, for completions and manual pages.
    #[must_use]
    pub fn description() -> clap::Command {
        Self::command()
    }
}

impl Command {
    /// Whether the configuration matters to it, so that a broken one does not keep a user from the manual.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        !matches!(self, Self::Convert(_) | Self::Completions(_) | Self::Man(_))
    }

    /// Whether it runs until it is stopped, and its progress is worth a line now and then.
    #[must_use]
    pub const fn is_service(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Produce(_) | Self::Analyze(_) | Self::Deliver(_))
    }
}

impl Command {
    /// How many producers may run side by side, each with a thread of its own.
    #[must_use]
    pub const fn most_producers(&self) -> usize {
        match self {
            Self::Produce(ProduceArgs { agent_config: Some(_), .. }) => MAX_FLOWS,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_behind_the_command() {
        for line in ["logtally -v --state-dir d status", "logtally status --state-dir d -v"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.global.state_dir.as_deref(), Some("d"));
            assert_eq!(cli.global.verbose, 1);
        }
    }
}
