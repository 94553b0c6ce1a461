//! The commands reference, parse and check: helpers that move nothing of the pipeline.

use std::{
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use rustix::fs::Access;

#[cfg(not(feature = "aws"))]
use crate::app::places;
#[cfg(feature = "aws")]
use crate::app::probing;
use crate::{
    app::{Error, Exit, agent_view, output::Results, places::ReferencePlace, settings},
    cli::{CheckArgs, ParseArgs, ReferenceAction, ReferenceArgs},
    clock::Clock,
    config::{BackendKind, Config, Stage},
    engine::{
        count::split_line,
        format::{LogFormat, StampCache},
    },
    parse,
    reference::{self, Entry, Listed, Outcome},
    render::{Cell, Column, Report, render, text::escape_terminal},
    tail::{self, open::open_log},
};

/// How many lines `check` tries of each log.
const SAMPLE_LINES: usize = 1_000;
/// In how many bytes, at most.
const SAMPLE_BYTES: u64 = 1024 * 1024;
/// How many bytes of a log `parse` reads at once.
const BUFFER: usize = 256 * 1024;

/// `logtally parse`
pub(crate) async fn parse(args: ParseArgs, config: Config) -> Result<Exit, Error> {
    let is_flag = args.log_format.is_some();
    let text = args.log_format.unwrap_or(config.analyze.format);
    let by_flag = |error: Error| if is_flag { error.of_the_command_line() } else { error };
    let format = settings::format(&text, &config.analyze.client).map_err(by_flag)?;
    let parse = move || -> Result<(), Error> {
        let mut out = Results::stdout();
        for file in &args.files {
            let log = Named { path: file, log: open_log(file)? };
            parse::run(BufReader::with_capacity(BUFFER, log), &mut out, &format)?;
        }
        Ok(out.flush()?)
    };
    tokio::task::spawn_blocking(parse).await.map_err(|why| Error::new(Exit::Internal, why))??;
    Ok(Exit::Success)
}

/// A log whose errors name it.
struct Named<'p, R> {
    path: &'p Path,
    log: R,
}

impl<R: Read> Read for Named<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display()));
        self.log.read(buffer).map_err(named)
    }
}

/// `logtally reference`
pub(crate) async fn reference(args: ReferenceArgs, config: Config) -> Result<Exit, Error> {
    let Some(location) = args.reference.or(config.analyze.reference) else {
        let why = "no reference data: name the file with --reference, or set reference in [analyze]";
        return Err(Error::new(Exit::Config, why));
    };
    let mut file = ReferencePlace::of(&location).await?;
    let mut out = Results::stdout();
    match args.action {
        ReferenceAction::Add { host, application, contact } => {
            let entry = Entry { host, application, contact, valid_from: None, valid_to: None };
            let outcome = reference::add(&mut file, &entry).await?;
            writeln!(out, "{}", escape_terminal(&describe(&outcome, &entry.host)))?;
        }
        ReferenceAction::Remove { host } => {
            let outcome = reference::remove(&mut file, &host).await?;
            writeln!(out, "{}", escape_terminal(&describe(&outcome, &host)))?;
        }
        ReferenceAction::List { output } => {
            let rows = reference::list(&mut file).await?.into_iter().map(listed).collect();
            let columns = vec![
                Column::left("host", "Host"),
                Column::left("applicationName", "Application"),
                Column::left("contact", "Contact"),
                Column::left("validFrom", "Valid from"),
                Column::left("validTo", "Valid to"),
            ];
            render(&Report { columns, rows }, output.format, &mut out)?;
        }
    }
    out.flush()?;
    Ok(Exit::Success)
}

fn describe(outcome: &Outcome, host: &str) -> String {
    match outcome {
        Outcome::Added => format!("{host}: added"),
        Outcome::Replaced { was } => format!("{host}: moved, was {} {}", was.application, was.contact),
        Outcome::Unchanged => format!("{host}: unchanged"),
        Outcome::Removed => format!("{host}: removed"),
        Outcome::NotThere => format!("{host}: not there"),
    }
}

fn listed(Listed { entry, .. }: Listed) -> Vec<Cell> {
    let Entry { host, application, contact, valid_from, valid_to } = entry;
    vec![host.into(), application.into(), contact.into(), valid_from.into(), valid_to.into()]
}

/// `logtally check`
pub(crate) async fn check(args: CheckArgs, config: Config) -> Result<Exit, Error> {
    if args.aws && config.backend == BackendKind::Embedded {
        let why = "--aws tries what backend = \"aws\" would do, and the backend is this machine: set it in logtally.toml";
        return Err(Error::new(Exit::Usage, why));
    }
    let mut findings = vec![Finding::of(
        "log format",
        settings::plan(&config.analyze).map(|_| config.analyze.format.clone()),
    )];
    findings.push(check_reference(&config).await);
    if !config.alarms.is_empty() {
        let webhooks = || config.alarms.iter().try_for_each(|alarm| settings::webhook(alarm).map(drop));
        let alarms = settings::alarms(&config).and_then(|alarms| {
            webhooks()?;
            Ok(match alarms.len() {
                1 => "1 rule".to_owned(),
                rules => format!("{rules} rules"),
            })
        });
        findings.push(Finding::of("alarms", alarms));
    }
    if let Some(file) = &args.agent_config {
        findings.extend(agent_view::check(file));
    }
    findings.extend(check_files(&config));
    let on_aws = config.backend == BackendKind::Aws;
    if !on_aws || config.stages.iter().any(|stage| stage == Stage::Produce) {
        findings.push(Finding::of("state directory", check_state(&config).await));
    }
    if on_aws {
        findings.extend(check_aws(&args, &config).await);
    }
    let columns = vec![
        Column::left("what", "What"),
        Column::left("result", "Result"),
        Column::left("detail", "Detail"),
    ];
    let exit = exit(&findings);
    let row = |finding: Finding| {
        let result = if finding.failure.is_some() { "FAILED" } else { "ok" };
        vec![finding.what.into(), result.into(), finding.detail.into()]
    };
    let mut out = Results::stdout();
    render(&Report { columns, rows: findings.into_iter().map(row).collect() }, args.output.format, &mut out)?;
    out.flush()?;
    Ok(exit)
}

/// Of a configuration that cannot be used, unless nothing but an answer is missing.
fn exit(findings: &[Finding]) -> Exit {
    let failures: Vec<Exit> = findings.iter().filter_map(|finding| finding.failure).collect();
    match failures.as_slice() {
        [] => Exit::Success,
        all if all.iter().all(|failure| *failure == Exit::Unavailable) => Exit::Unavailable,
        _ => Exit::Config,
    }
}

pub(super) struct Finding {
    pub(super) what: String,
    /// How a command would end that needs it.
    pub(super) failure: Option<Exit>,
    pub(super) detail: String,
}

impl Finding {
    pub(super) fn of(what: &str, result: Result<String, Error>) -> Self {
        let (failure, detail) = match result {
            Ok(detail) => (None, detail),
            Err(error) => (Some(error.exit()), error.to_string()),
        };
        Self { what: what.to_owned(), failure, detail }
    }
}

#[cfg(feature = "aws")]
async fn check_aws(args: &CheckArgs, config: &Config) -> Vec<Finding> {
    if args.aws {
        return probing::check(config).await;
    }
    let detail = "not asked: logtally check --aws tries what the stages do there".to_owned();
    vec![Finding { what: "AWS".to_owned(), failure: None, detail }]
}

#[cfg(not(feature = "aws"))]
async fn check_aws(_args: &CheckArgs, _config: &Config) -> Vec<Finding> {
    vec![Finding::of("AWS", Err(places::without_aws("backend = \"aws\"")))]
}

async fn check_reference(config: &Config) -> Finding {
    let result = match &config.analyze.reference {
        None => Ok("none: every host is unknown".to_owned()),
        Some(location) => settings::watched(location).await.map(|watched| {
            let (reference, (_, warnings)) = (watched.current(), watched.warnings());
            let applications = reference.applications().count();
            format!(
                "{location}: {} hosts of {applications} applications, {warnings} warnings",
                reference.len()
            )
        }),
    };
    Finding::of("reference data", result)
}

/// Tries the first lines of every log that the patterns find now.
fn check_files(config: &Config) -> Vec<Finding> {
    let settings = tail::Settings {
        exclude: config.produce.exclude.clone(),
        follow_links: config.produce.follow_links,
        ..tail::Settings::new(config.produce.files.clone())
    };
    let found = tail::matches(&settings).and_then(|files| Ok((files, unmatched(&settings)?)));
    let (files, unmatched) = match found {
        Ok(found) => found,
        Err(error) => return vec![Finding::of("files", Err(Error::new(Exit::Config, error)))],
    };
    let none = |pattern| Finding::of("files", Ok(format!("{pattern}: nothing there now")));
    let mut findings: Vec<Finding> = unmatched.into_iter().map(none).collect();
    if let Ok(plan) = settings::plan(&config.analyze) {
        findings.extend(files.iter().map(|path| check_file(path, &plan.format)));
    }
    findings
}

/// The patterns that find no file now.
pub(super) fn unmatched(settings: &tail::Settings) -> Result<Vec<&str>, tail::TailError> {
    let mut unmatched = Vec::new();
    for pattern in &settings.patterns {
        let alone = tail::Settings { patterns: vec![pattern.clone()], ..settings.clone() };
        if tail::matches(&alone)?.is_empty() {
            unmatched.push(pattern.as_str());
        }
    }
    Ok(unmatched)
}

fn check_file(path: &Path, format: &LogFormat) -> Finding {
    let sample = || -> Result<String, Error> {
        let mut text = Vec::new();
        open_log(path)?.take(SAMPLE_BYTES).read_to_end(&mut text)?;
        let (mut rest, mut stamps, mut memory) = (text.as_slice(), StampCache::default(), Vec::new());
        let (mut parsed, mut lines) = (0, Vec::new());
        while !rest.is_empty() && lines.len() < SAMPLE_LINES {
            let (line, after) = split_line(rest);
            rest = after;
            parsed += usize::from(format.parse_or_object(line, &mut memory, &mut stamps).is_ok());
            lines.push(line);
        }
        if parsed == 0 && !lines.is_empty() {
            let nearest = LogFormat::nearest_named(&lines)
                .map(|name| format!("; format = \"{name}\" would parse them"));
            let why = format!("none of {} lines can be parsed{}", lines.len(), nearest.unwrap_or_default());
            return Err(Error::new(Exit::Data, why));
        }
        Ok(format!("{parsed} of {} lines parsed", lines.len()))
    };
    Finding::of(&path.to_string_lossy(), sample())
}

/// Whether the state could be kept where it is to be: nothing is created.
async fn check_state(config: &Config) -> Result<String, Error> {
    let directory: PathBuf = config.state_dir()?.to_owned();
    let file = directory.join(settings::FILE);
    let shown = file.display();
    if file.exists() {
        settings::embedded(config, false, &Clock::system()).await?;
        return Ok(format!("{shown} exists"));
    }
    // The last ancestor of a relative path is empty.
    let here = |path| if path == Path::new("") { Path::new(".") } else { path };
    let existing = directory.ancestors().map(here).find(|parent| parent.exists());
    match existing {
        Some(parent) if parent.is_dir() && rustix::fs::access(parent, Access::WRITE_OK).is_err() => {
            let why = format!("{shown} cannot be created: {} cannot be written to", parent.display());
            Err(Error::new(Exit::Config, why))
        }
        Some(parent) if parent.is_dir() => Ok(format!("{shown} will be created")),
        Some(parent) => Err(Error::new(Exit::Config, format!("{} is no directory", parent.display()))),
        None => Err(Error::new(Exit::Config, format!("{shown}: no directory above it exists"))),
    }
}
