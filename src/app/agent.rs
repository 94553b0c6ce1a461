//! `logtally produce --agent-config`: each flow of an Amazon Kinesis Agent as a producer, side by side.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::task::JoinSet;

use crate::{
    app::{
        Error, Exit,
        pipeline::Reload,
        places, settings,
        signals::{Reloads, Signals},
    },
    backend::Backend,
    clock::Clock,
    config::{
        self, BackendKind, Compression, Config,
        agent::{AgentConfig, EXCLUDED, Flow, PartitionKeyOption, Verdict},
    },
    produce::{
        self, Input,
        shape::{AgentShape, PartitionKeys},
    },
    stop::{Phase, channel},
    tail,
};
#[cfg(feature = "aws")]
use crate::{backend::aws::Clients, config::Stage};

/// How long lines gather before they are sent, in milliseconds, if the flow lets them wait as long: the agent's age is
/// the longest that a record may wait, and no reason to wait.
const GATHER_MS: u64 = 1_000;
/// How long the last record of a file waits for further lines, in milliseconds, if the flow lets it wait as long.
const PATIENCE_MS: u64 = 5_000;

/// Serves every flow that can be served, and serves anew with every good configuration that a SIGHUP finds.
pub(super) async fn produce(
    file: &Path,
    once: bool,
    config: Config,
    reload: Reload<'_>,
) -> Result<Exit, Error> {
    let signals = Signals::install()?;
    let mut reloads = signals.reloads();
    let mut now = Told { agent: ready(file)?, config };
    loop {
        tell(&now.agent);
        let again = || reloaded(file, &now, reload);
        let clock = Clock::system();
        let private = now.config.state_dir()?;
        // The one place that chooses where flows go.
        let changed = match now.config.backend {
            BackendKind::Embedded => {
                tracing::warn!(
                    "backend = \"embedded\": flows go to files of {}",
                    state_dir(&now.config)?.display()
                );
                let open =
                    async |flow: &Flow| settings::embedded(&of_flow(&now.config, flow)?, true, &clock).await;
                serve((&now.agent.flows, private), open, once, (&signals, &mut reloads, &again)).await?
            }
            #[cfg(feature = "aws")]
            BackendKind::Aws => {
                let clients = Clients::of_agent(&now.agent.access).await?;
                let open = async |flow: &Flow| {
                    let config = of_flow(&now.config, flow)?;
                    places::on(clients.clone(), &config, &[Stage::Produce], &clock).await
                };
                serve((&now.agent.flows, private), open, once, (&signals, &mut reloads, &again)).await?
            }
            #[cfg(not(feature = "aws"))]
            BackendKind::Aws => return Err(places::without_aws("--agent-config")),
        };
        match changed {
            None => return Ok(Exit::Success),
            Some(changed) => now = changed,
        }
        tracing::info!("going on with the new configuration");
    }
}

/// Both configurations.
struct Told {
    agent: AgentConfig,
    config: Config,
}

/// The agent's configuration, if there is something to serve and its patterns can be understood.
fn ready(file: &Path) -> Result<AgentConfig, Error> {
    let agent = config::agent::load(file)?;
    for flow in &agent.flows {
        tail::matches(&files(flow)).map_err(|error| Error::doing(flow.place.clone(), Exit::Config, error))?;
    }
    if agent.flows.is_empty() {
        let why = format!("{}: none of {} flows can be served", file.display(), agent.all_flows);
        let details = agent.findings.iter().map(ToString::to_string).collect();
        return Err(Error::new(Exit::Config, why).with(details));
    }
    Ok(agent)
}

/// Says what has no effect, and what is served.
fn tell(agent: &AgentConfig) {
    for finding in &agent.findings {
        match finding.verdict {
            Verdict::Ignored => tracing::info!("{finding}"),
            Verdict::Unsupported | Verdict::Unknown | Verdict::Invalid => tracing::warn!("{finding}"),
        }
    }
    let (served, all) = (agent.flows.len(), agent.all_flows);
    tracing::info!("serving {served} of {all} flows of {}", agent.file.display());
}

/// Both configurations as they are now, if they are good and say something else.
fn reloaded(file: &Path, before: &Told, reload: Reload<'_>) -> Option<Told> {
    let read = || Ok(Told { config: reload()?, agent: ready(file)? });
    match read() {
        Ok(now) if now.config == before.config && now.agent == before.agent => {
            tracing::info!("the configuration has not changed");
            None
        }
        Ok(now) => Some(now),
        Err(error) => {
            let error: Error = error;
            tracing::error!("keeping the last good configuration: {error}");
            None
        }
    }
}

/// The configuration of a producer for `flow`: its stream, records as they are, and positions in a directory of its
/// own.
fn of_flow(config: &Config, flow: &Flow) -> Result<Config, Error> {
    let mut config = config.clone();
    config.state_dir = Some(state_dir(&config)?.join(flow.id()));
    config.aws.input_stream.clone_from(&flow.kinesis_stream);
    config.produce.compression = Compression::None;
    Ok(config)
}

/// Where the directories of all flows are.
fn state_dir(config: &Config) -> Result<PathBuf, Error> {
    Ok(config.state_dir()?.join("agent"))
}

/// Runs a producer for each flow, over the backend that `open` gives it, until a signal, the end of what is to be done,
/// or the failure of one of them; gives what `again` finds at a SIGHUP, to go on with.
async fn serve<B: Backend, C>(
    (flows, private): (&[Flow], &Path),
    open: impl AsyncFn(&Flow) -> Result<B, Error>,
    once: bool,
    (signals, reloads, again): (&Signals, &mut Reloads, &dyn Fn() -> Option<C>),
) -> Result<Option<C>, Error> {
    let mut producers = Vec::with_capacity(flows.len());
    for flow in flows {
        let backend = open(flow).await.map_err(|error| ended(&flow.place, &error))?;
        producers.push((flow.place.clone(), backend, settings(flow, private)));
    }
    let (stopper, stop) = channel();
    let mut running = JoinSet::new();
    for (place, backend, settings) in producers {
        let stop = stop.clone();
        running.spawn(async move {
            let ended = produce::run(&backend, settings, stop).await;
            ended.map_err(|error| self::ended(&place, &Error::from(error)))
        });
    }
    if once {
        stopper.set(Phase::Drain);
    }
    let (mut stopping, mut next, mut failure) = (false, None, None);
    loop {
        tokio::select! {
            ended = running.join_next() => match ended {
                None => break,
                Some(Err(why)) => failure = failure.or(Some(Error::new(Exit::Internal, why))),
                Some(Ok(result)) => failure = failure.or(result.err()),
            },
            () = signals.shutdown(), if !stopping => stopping = true,
            () = reloads.next(), if !stopping => {
                next = again();
                stopping = next.is_some();
            }
        }
        if stopping || failure.is_some() {
            stopper.set(Phase::Stop);
        }
    }
    failure.map_or(Ok(next), Err)
}

/// `error`, and which flow it ended.
fn ended(place: &str, error: &Error) -> Error {
    Error::new(error.exit(), format!("{place}: {error}"))
}

/// Which files a flow follows, and how.
pub(super) fn files(flow: &Flow) -> tail::Settings {
    tail::Settings {
        exclude: EXCLUDED.map(str::to_owned).to_vec(),
        start: match flow.initial_position {
            config::Start::Beginning => tail::Start::Beginning,
            config::Start::End => tail::Start::End,
        },
        ..tail::Settings::new(flow.patterns())
    }
}

/// What becomes of a flow's lines.
pub(super) fn shape(flow: &Flow) -> AgentShape {
    AgentShape {
        starts: flow.multi_line_start.clone(),
        skip_header_lines: flow.skip_header_lines,
        terminator: flow.truncated_record_terminator.clone().into_bytes(),
        chain: flow.processing.clone(),
        keys: match flow.partition_key_option {
            PartitionKeyOption::Random => PartitionKeys::Random,
            PartitionKeyOption::Deterministic => PartitionKeys::Deterministic,
        },
        append_records: flow.max_buffer_records,
        append_bytes: flow.max_buffer_bytes,
        patience_ms: i64::try_from(flow.max_buffer_age_ms.min(PATIENCE_MS)).unwrap_or(i64::MAX),
    }
}

fn settings(flow: &Flow, private: &Path) -> produce::Settings {
    let files = tail::Settings { private: Some(private.to_owned()), ..files(flow) };
    produce::Settings {
        input: Input::Agent(files, Arc::new(shape(flow))),
        // What is a record the shape says.
        limits: produce::Limits {
            bytes: usize::MAX,
            lines: usize::MAX,
            age_ms: flow.max_buffer_age_ms.min(GATHER_MS),
        },
        clock: Clock::system(),
    }
}
