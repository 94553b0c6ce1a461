//! The commands run, produce, analyze and deliver: which stages run, and when they end.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

#[cfg(feature = "aws")]
use crate::app::dry_run;
#[cfg(not(feature = "aws"))]
use crate::app::places;
use crate::{
    app::{
        Error, Exit,
        ready::Ready,
        signals::{Reloads, Signals},
        stages,
    },
    cli::{AnalyzeArgs, DeliverArgs, ProduceArgs, RunArgs},
    config::{BackendKind, Config, ConfigError, Stage, StartMode},
    produce::Input,
    render::Format,
    stop::{Phase, Stopper},
};

/// What a command asks of the pipeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// Instead of the stages of the configuration.
    pub(crate) stage: Option<Stage>,
    /// Instead of the files of the configuration.
    pub(crate) input: Option<Input>,
    /// Instead of the start mode of the configuration.
    pub(crate) from: Option<StartMode>,
    pub(crate) recount: bool,
    pub(crate) accept_loss: bool,
    /// Process what is there now, then end.
    pub(crate) once: bool,
}

/// Reads the configuration again.
pub(crate) type Reload<'a> = &'a (dyn Fn() -> Result<Config, ConfigError> + Sync);

/// `logtally run`
pub(crate) async fn run(args: RunArgs, config: Config, reload: Reload<'_>) -> Result<Exit, Error> {
    let RunArgs { from, once } = args;
    start(Run { from, once, ..Run::default() }, config, reload).await
}

/// `logtally produce`
pub(crate) async fn produce(args: ProduceArgs, config: Config, reload: Reload<'_>) -> Result<Exit, Error> {
    let ProduceArgs { files, once, agent_config: _ } = args;
    let stdin = files.iter().any(|file| file == "-");
    if stdin && files.len() > 1 {
        return Err(Error::new(Exit::Usage, "standard input and files cannot be produced together"));
    }
    let input = stdin.then_some(Input::Stdin);
    let named = |mut config: Config| {
        if !files.is_empty() {
            config.produce.files.clone_from(&files);
        }
        config
    };
    let run = Run { stage: Some(Stage::Produce), input, once, ..Run::default() };
    start(run, named(config), &|| reload().map(named)).await
}

/// `logtally analyze`
pub(crate) async fn analyze(args: AnalyzeArgs, config: Config, reload: Reload<'_>) -> Result<Exit, Error> {
    let AnalyzeArgs { from, recount, accept_loss, once } = args;
    let run = Run { stage: Some(Stage::Analyze), from, recount, accept_loss, once, ..Run::default() };
    start(run, config, reload).await
}

/// `logtally deliver`
pub(crate) async fn deliver(args: DeliverArgs, config: Config, reload: Reload<'_>) -> Result<Exit, Error> {
    let DeliverArgs { once, dry_run, format } = args;
    match config.backend {
        _ if !dry_run => {}
        BackendKind::Aws => return show_calls(format.unwrap_or_default(), config).await,
        BackendKind::Embedded => {
            let why = "--dry-run shows the calls to CloudWatch that backend = \"aws\" would make, and the backend is \
                       this machine: logtally report shows what its metrics hold";
            return Err(Error::new(Exit::Usage, why));
        }
    }
    start(Run { stage: Some(Stage::Deliver), once, ..Run::default() }, config, reload).await
}

#[cfg(feature = "aws")]
async fn show_calls(format: Format, config: Config) -> Result<Exit, Error> {
    dry_run::command(format, config).await
}

#[cfg(not(feature = "aws"))]
async fn show_calls(_format: Format, _config: Config) -> Result<Exit, Error> {
    Err(places::without_aws("backend = \"aws\""))
}

/// Runs the pipeline, and runs it anew with every good configuration that a SIGHUP finds.
async fn start(mut run: Run, mut config: Config, reload: Reload<'_>) -> Result<Exit, Error> {
    let signals = Signals::install()?;
    // One for all runs: a SIGHUP that comes while one ends and the next begins is for the next.
    let mut reloads = signals.reloads();
    while let Some(changed) = pipeline(&run, &config, (&signals, &mut reloads, reload)).await? {
        tracing::info!("going on with the new configuration");
        config = changed;
        // A start mode holds for the first start only.
        run = Run { from: Some(StartMode::LastStoppedPoint), recount: false, ..run };
    }
    Ok(Exit::Success)
}

/// The tasks of a pipeline: stages, and what serves them.
#[derive(Default)]
pub(crate) struct Tasks {
    pub(crate) set: JoinSet<(Option<Stage>, Result<(), Error>)>,
    pub(crate) stages: BTreeMap<Stage, Stopper>,
    pub(crate) helpers: Option<Stopper>,
}

impl Tasks {
    /// Tells every stage to save and end.
    fn stop(&self) {
        self.stages.values().for_each(|stage| stage.set(Phase::Stop));
    }

    /// Tells the first stage that still runs to end when it has processed what is there; without one, the helpers.
    fn drain(&self) {
        match self.stages.values().next() {
            Some(stage) => stage.set(Phase::Drain),
            None => self.helpers.iter().for_each(|helpers| helpers.set(Phase::Stop)),
        }
    }
}

/// Runs until a signal, the end of what is to be done, or a failure; gives a new configuration to go on with.
async fn pipeline(
    run: &Run,
    config: &Config,
    (signals, reloads, reload): (&Signals, &mut Reloads, Reload<'_>),
) -> Result<Option<Config>, Error> {
    let mut tasks = stages::spawn(run, config, signals.reloads()).await?;
    let (mut stopping, mut next, mut failure) = (false, None, None);
    if run.once {
        tasks.drain();
    }
    loop {
        tokio::select! {
            ended = tasks.set.join_next() => match ended {
                None => break,
                Some(Err(why)) => failure = failure.or(Some(Error::new(Exit::Internal, why))),
                Some(Ok((stage, result))) => {
                    stage.and_then(|stage| tasks.stages.remove(&stage));
                    failure = failure.or(result.err());
                    if run.once || tasks.stages.is_empty() {
                        tasks.drain();
                    }
                }
            },
            () = signals.shutdown(), if !stopping => {
                stopping = true;
                tasks.stop();
            }
            () = reloads.next(), if !stopping => {
                next = reloaded(run, config, reload).await;
                stopping = next.is_some();
                if stopping {
                    tasks.stop();
                }
            }
        }
        if failure.is_some() {
            tasks.stop();
        }
    }
    failure.map_or(Ok(next), Err)
}

/// The configuration as it is now, if it is good and another one.
async fn reloaded(run: &Run, config: &Config, reload: Reload<'_>) -> Option<Config> {
    let checked = match reload() {
        Ok(changed) if changed == *config => {
            tracing::info!("the configuration has not changed");
            return None;
        }
        Ok(_) if run.input.is_some() => {
            // Whoever began to read it holds lines that nobody else can read.
            tracing::warn!("standard input is being read: the new configuration holds from the next start");
            return None;
        }
        Ok(changed) => Ready::of(run, &changed).await.map(|_| changed),
        Err(error) => Err(error.into()),
    };
    checked.inspect_err(|error| tracing::error!("keeping the last good configuration: {error}")).ok()
}

impl Run {
    /// Which stages run.
    pub(crate) fn stages(&self, config: &Config) -> Vec<Stage> {
        self.stage.map_or_else(|| config.stages.iter().collect(), |stage| vec![stage])
    }
}
