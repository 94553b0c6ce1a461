//! One struct a command: its arguments, their help, its examples. Does nothing.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use crate::{
    cli::{Moment, Output, values},
    config::{StartMode, units},
    engine::time::WindowSize,
    render::Format,
};

/// The most threads that a replay may be given.
const MAX_THREADS: i64 = 1024;
/// The most unknown hosts that a window's table may name.
const MAX_TOP: i64 = 1000;

/// `logtally run`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally run                          go on where it stopped
  logtally run --from NOW               pass over what is in the stream
  logtally run --once                   process what is there now, then stop

SIGTERM and SIGINT finish what is in hand and save; a second one exits at once. SIGHUP reads the
configuration again and keeps the last good one.")]
pub struct RunArgs {
    /// Where to start in the input stream [default: as configured, LAST_STOPPED_POINT]
    #[arg(long, value_enum, ignore_case = true, value_name = "POINT")]
    pub from: Option<StartMode>,
    /// Stop when everything that is there now has been processed; no window is closed early
    #[arg(long)]
    pub once: bool,
}

/// `logtally produce`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally produce                                       the files that logtally.toml names
  logtally produce '/var/log/apache2/*access.log'        a pattern: files that appear later, too
  zcat old.log.gz | logtally produce -                   standard input
  logtally produce --agent-config /etc/aws-kinesis/agent.json

With --agent-config it serves the flows of that file, and of agent.d beside it, as the Amazon
Kinesis Agent does; logtally check --agent-config says how far.")]
pub struct ProduceArgs {
    /// Files and patterns to follow; - is standard input [default: as configured]
    #[arg(value_name = "FILES")]
    pub files: Vec<String>,
    /// The configuration of the Amazon Kinesis Agent, whose flows are served
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    pub agent_config: Option<PathBuf>,
    /// Stop when everything that is there now has been sent
    #[arg(long)]
    pub once: bool,
}

/// `logtally analyze`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally analyze                                       go on where it stopped
  logtally analyze --from TRIM_HORIZON --recount         everything again, knowing what that means

A start that would count windows a second time names them and refuses; --recount goes on.
LAST_STOPPED_POINT past retention says what is gone and refuses; --accept-loss goes on.")]
pub struct AnalyzeArgs {
    /// Where to start in the input stream [default: as configured, LAST_STOPPED_POINT]
    #[arg(long, value_enum, ignore_case = true, value_name = "POINT")]
    pub from: Option<StartMode>,
    /// Count again what was counted before
    #[arg(long)]
    pub recount: bool,
    /// Go on although lines are gone that were never counted
    #[arg(long)]
    pub accept_loss: bool,
    /// Stop when everything that is there now has been processed; no window is closed early
    #[arg(long)]
    pub once: bool,
}

/// `logtally deliver`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally deliver                      publish counts as they come
  logtally deliver --once               publish what is there now, then stop
  logtally deliver --dry-run            the calls to CloudWatch that this would make")]
pub struct DeliverArgs {
    /// Stop when everything that is there now has been published
    #[arg(long)]
    pub once: bool,
    /// Print the calls to CloudWatch that are due now, and how many custom metrics they hold; send nothing
    #[arg(long, conflicts_with = "once")]
    pub dry_run: bool,
    /// How --dry-run prints the calls [default: table]
    #[arg(long, value_enum, requires = "dry_run", value_name = "FORMAT", help_heading = "Output")]
    pub format: Option<Format>,
}

/// `logtally replay`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally replay access.log --reference hosts.csv
  logtally replay access.log access.log.*.gz --format csv > rows.csv
  logtally replay *.log --alarm 'Unknown > 100' --fail-on-alarm

The result is the same whatever the number of threads and the order of the files.")]
pub struct ReplayArgs {
    /// Logs to read, plain, gzip or zstd, in any order; - is standard input
    #[arg(required = true, value_name = "FILES")]
    pub files: Vec<PathBuf>,
    /// Reference data, CSV with Host,ApplicationName,Contact [default: as configured, none]
    #[arg(long, value_name = "CSV", help_heading = "Counting")]
    pub reference: Option<String>,
    /// A name or an Apache LogFormat string [default: as configured, combined]
    #[arg(long, value_name = "FORMAT", help_heading = "Counting")]
    pub log_format: Option<String>,
    /// The directive that names the client [default: as configured, %h]
    #[arg(long, value_name = "DIRECTIVE", help_heading = "Counting")]
    pub client: Option<String>,
    /// Length of a window [default: as configured, 5m]
    #[arg(long, value_parser = values::window, value_name = "DURATION", help_heading = "Counting")]
    pub window: Option<WindowSize>,
    /// How far a log's lines may be out of order before a window is final
    #[arg(long, value_parser = units::duration, default_value = "1h", value_name = "DURATION")]
    #[arg(help_heading = "Counting")]
    pub disorder: Duration,
    /// Threads to use [default: one a core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS), value_name = "N")]
    #[arg(help_heading = "Counting")]
    pub threads: Option<u16>,
    /// A rule to back-test, for example 'Unknown > 100' or '* > 5000 for 3 of 5'; may be repeated
    #[arg(long = "alarm", value_name = "RULE", help_heading = "Alarms")]
    pub alarms: Vec<String>,
    /// Exit with 1 if any --alarm would have fired
    #[arg(long, requires = "alarms", help_heading = "Alarms")]
    pub fail_on_alarm: bool,
    /// Also a row of zero for each application that nobody called in a window
    #[arg(long, help_heading = "Output")]
    pub zero_rows: bool,
    /// How many unknown hosts are named a window
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MAX_TOP), default_value = "10")]
    #[arg(value_name = "N", help_heading = "Output")]
    pub top: u16,
    /// How the result is printed.
    #[command(flatten)]
    pub output: Output,
}

/// `logtally report`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally report                                        the last hour
  logtally report --since 2026-11-21T00:00:00Z --until 2026-11-22T00:00:00Z
  logtally report --application Billing --follow         and every new window")]
pub struct ReportArgs {
    /// From when: how long ago, or a time
    #[arg(long, default_value = "1h", value_name = "WHEN")]
    pub since: Moment,
    /// Until when [default: now]
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    pub until: Option<Moment>,
    /// Only this application
    #[arg(long, value_name = "NAME")]
    pub application: Option<String>,
    /// Go on with every new window
    #[arg(long)]
    pub follow: bool,
    /// How the result is printed.
    #[command(flatten)]
    pub output: Output,
}

/// `logtally reference`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally reference add 10.0.0.7 Billing billing@example.com
  logtally reference add 10.1.0.0/16 Search
  logtally reference remove 10.0.0.7")]
pub struct ReferenceArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ReferenceAction,
    /// The CSV file to work on [default: as configured]
    #[arg(long, global = true, value_name = "FILE")]
    pub reference: Option<String>,
}

/// What to do with the reference data.
#[derive(Debug, Subcommand)]
pub enum ReferenceAction {
    /// Give a host to an application; a host that is there already changes hands
    Add {
        /// A name, an address or a CIDR block
        host: String,
        /// The application that owns it
        application: String,
        /// Whom to contact
        #[arg(default_value = "", hide_default_value = true)]
        contact: String,
    },
    /// Take a host out
    Remove {
        /// A name, an address or a CIDR block
        host: String,
    },
    /// Every host with its application and contact
    List {
        /// How the result is printed.
        #[command(flatten)]
        output: Output,
    },
}

/// `logtally parse`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tail -n 1 access.log | logtally parse
  logtally parse access.log --log-format '%h %l %u %t \"%r\" %>s %b'

A line that does not parse becomes {\"error\": reason, \"column\": n}.")]
pub struct ParseArgs {
    /// Logs to read; - is standard input
    #[arg(value_name = "FILES", default_value = "-")]
    pub files: Vec<PathBuf>,
    /// A name or an Apache LogFormat string [default: as configured, combined]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// `logtally check`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally check                        everything that logtally.toml names
  logtally check --config new.toml      before it goes live
  logtally check --aws                  and what the stages may do on AWS
  logtally check --agent-config agent.json

Exit code 78 if something failed; 69 if all that failed is a service that does not answer now.")]
pub struct CheckArgs {
    /// With backend = "aws": try what the configured stages do there, by calls that change nothing
    #[arg(long)]
    pub aws: bool,
    /// Look at a configuration of the Amazon Kinesis Agent, too: each flow, each key that has no effect
    #[arg(long, value_name = "FILE")]
    pub agent_config: Option<PathBuf>,
    /// How the result is printed.
    #[command(flatten)]
    pub output: Output,
}

/// `logtally convert`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally convert /etc/aws-kinesis/agent.json > logtally.toml

What cannot be said there follows as comments. Several flows give several documents.")]
pub struct ConvertArgs {
    /// The configuration to convert; agent.d beside it is read, too
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `logtally status`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally status
  logtally status --format json | jq .

Files: bytes sent to the stream, in the file and not sent, waiting in the stream, analyzed; lines.
Shards: what became of each line (counted, malformed, duplicate; late are among the counted).
Windows that are not finished: published, not delivered, in corrections, in open windows.
Columns of what should not happen are shown where it did. CSV and JSON have every column, and a
first one, kind, that says what a row is about.")]
pub struct StatusArgs {
    /// How the result is printed.
    #[command(flatten)]
    pub output: Output,
}

/// `logtally audit`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally audit && echo 'the books balance'
  logtally audit --settle --since 24h   on AWS, the calls in doubt first
  logtally audit --format json          every equation, one a line

What status shows, and then the equations of the books:
  bytes sent          sent = passed over + analyzed + waiting + not known by file      each file
  lines read          read = counted + malformed + duplicate                           each shard
  requests counted    counted = published + in open windows + in corrections           each shard
  counted by window   counted = in the windows kept apart + in older windows           each shard
  published by window the same of what was published                                   each shard
  counted in a window     counted = published + in open windows + in corrections      each window
  published of a window   published = in the metrics + not delivered yet + in the outbox
                          + in doubt + refused + out of range                         each window
  bytes passed        appended up to the position = read + not lines + skipped + expired
  records, bytes and parcels kept     appended = past retention + kept
  parcels delivered   passed by deliver = published
  requests published  published = in the metrics + not delivered yet + past their retention
  delivered           delivered + in doubt and added = in the metrics     each window and series
Each window is that of all shards and applications, by a second count of it. The latest windows are
kept apart; those that are long over are one, and their rows are not followed one by one.
AWS knows those of lines, requests and windows, and the last. There the rows of windows since --since
are followed through the output stream, which is read from where deliver stopped, into the ledger.
Each that does not balance is printed with its terms and the difference, left less right; balances is
yes, NO, not yet (CloudWatch shows late) or in motion. In JSON: kind \"books\", about, scope,
equation, left, right, difference, balances, terms.

Exit code 1 if one does not balance.")]
pub struct AuditArgs {
    /// On AWS: follow rows of windows from then on, and compare them with CloudWatch [default: 3h]
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Moment>,
    /// On AWS, first: find out by CloudWatch what became of calls in doubt, and send those that it lacks
    #[arg(long)]
    pub settle: bool,
    /// How the result is printed.
    #[command(flatten)]
    pub output: Output,
}

/// `logtally completions`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally completions bash > /etc/bash_completion.d/logtally
  logtally completions zsh > \"${fpath[1]}/_logtally\"")]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `logtally man`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logtally man | man -l -               read the main page
  logtally man --out /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write every page into this directory, which is made if need be [default: the main page on standard output]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
