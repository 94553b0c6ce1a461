//! Stages and what serves them, spawned: reference data kept in force, alarms, webhooks, a line now and then.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    alarms,
    analyze::{self, Board},
    app::{
        Error,
        pipeline::{Run, Tasks},
        places::{Place, ReferencePlace},
        ready::Ready,
        settings,
        signals::Reloads,
    },
    backend::{Backend, embedded::Embedded},
    clock::Clock,
    config::{Config, Stage, StartMode},
    deliver,
    engine::{
        alarm::{Alarm, State},
        count::Plan,
        reference::Reference,
    },
    produce::{self, Input},
    reference::Watched,
    stop::{Phase, Stop, channel},
    webhook::{Notification, Webhook, WebhookUrl},
};

/// How many unknown hosts a row of the stream names.
pub(crate) const TOP_HOSTS: usize = 100;
/// How often a line says where the pipeline stands.
const REPORT_EVERY: Duration = Duration::from_mins(1);

/// What every task is made from.
struct Parts<'a, B> {
    run: &'a Run,
    config: &'a Config,
    backend: B,
    clock: Clock,
}

/// Spawns what `run` asks for.
pub(crate) async fn spawn(run: &Run, config: &Config, reloads: Reloads) -> Result<Tasks, Error> {
    let clock = Clock::system();
    let ready = Ready::of(run, config).await?;
    let stages = run.stages(config);
    let mut tasks = Tasks::default();
    let (helpers, stop) = channel();
    tasks.helpers = Some(helpers);
    match Place::open(config, true, &stages, &clock).await? {
        Place::Embedded(backend) => {
            let parts = Parts { run, config, backend, clock };
            if let Some((alarms, urls)) = &ready.deliver {
                parts.alarms(&mut tasks, (alarms.clone(), urls.clone()), &stop);
            }
            parts.spawn(&mut tasks, ready, (stop, reloads));
        }
        #[cfg(feature = "aws")]
        Place::Aws(backend) => {
            if ready.deliver.as_ref().is_some_and(|(alarms, _)| !alarms.is_empty()) {
                tracing::warn!("[[alarm]] is not looked at: on AWS CloudWatch judges (infra/logtally.yaml)");
            }
            Parts { run, config, backend, clock }.spawn(&mut tasks, ready, (stop, reloads));
        }
    }
    Ok(tasks)
}

impl<B: Backend> Parts<'_, B> {
    fn spawn(&self, tasks: &mut Tasks, ready: Ready, (stop, reloads): (Stop, Reloads)) {
        if let Some(input) = ready.produce {
            self.produce(tasks, input);
        }
        if let Some(analyze) = ready.analyze {
            self.analyze(tasks, analyze, (stop, reloads));
        }
        if ready.deliver.is_some() {
            self.deliver(tasks);
        }
    }

    fn produce(&self, tasks: &mut Tasks, input: Input) {
        let config = &self.config.produce;
        let limits = produce::Limits {
            bytes: usize::try_from(config.record_bytes).unwrap_or(usize::MAX),
            lines: usize::try_from(config.record_lines.get()).unwrap_or(usize::MAX),
            age_ms: settings::millis(config.record_age).unsigned_abs(),
        };
        let settings = produce::Settings { input, limits, clock: self.clock.clone() };
        let (backend, stop) = (self.backend.clone(), stage(tasks, Stage::Produce));
        tasks.set.spawn(async move {
            let ended = produce::run(&backend, settings, stop).await;
            (Some(Stage::Produce), ended.map_err(Error::from))
        });
    }

    fn analyze(
        &self,
        tasks: &mut Tasks,
        (plan, reference): (Arc<Plan>, Option<Watched<ReferencePlace>>),
        (stop, reloads): (Stop, Reloads),
    ) {
        let config = &self.config.analyze;
        let reference = if let Some(watched) = reference {
            let (sender, receiver) = watch::channel(watched.current());
            let keep = keep_in_force(watched, sender, config.reference_refresh, (stop.clone(), reloads));
            tasks.set.spawn(async move {
                keep.await;
                (None, Ok(()))
            });
            receiver
        } else {
            tracing::warn!("no reference data: every host is unknown; set reference in [analyze]");
            watch::channel(Arc::default()).1
        };
        let board = Arc::new(Board::default());
        let says = say_where(Arc::clone(&board), stop);
        tasks.set.spawn(async move {
            says.await;
            (None, Ok(()))
        });
        let settings = analyze::Settings {
            pipeline: self.config.pipeline.as_str().to_owned(),
            plan,
            reference,
            allowed_lateness_ms: settings::millis(config.allowed_lateness),
            correction_interval_ms: settings::millis(config.correction_interval),
            checkpoint_interval_ms: settings::millis(self.config.checkpoint_interval()).unsigned_abs(),
            top_hosts: TOP_HOSTS,
            from: match self.run.from.unwrap_or(config.from) {
                StartMode::TrimHorizon => analyze::StartMode::TrimHorizon,
                StartMode::Now => analyze::StartMode::Now,
                StartMode::LastStoppedPoint => analyze::StartMode::LastStoppedPoint,
            },
            recount: self.run.recount,
            accept_loss: self.run.accept_loss,
            first_epoch: self.clock.now().as_millis().unsigned_abs(),
            board,
        };
        let (backend, stop) = (self.backend.clone(), stage(tasks, Stage::Analyze));
        tasks.set.spawn(async move {
            let ended = analyze::run(&backend, settings, stop).await;
            (Some(Stage::Analyze), ended.map_err(Error::from))
        });
    }

    fn deliver(&self, tasks: &mut Tasks) {
        let (backend, stop) = (self.backend.clone(), stage(tasks, Stage::Deliver));
        tasks.set.spawn(async move {
            let ended = deliver::run(&backend, stop).await;
            (Some(Stage::Deliver), ended.map_err(Error::from))
        });
    }
}

impl Parts<'_, Embedded> {
    /// Alarms are judged where metrics are kept: in the embedded file by this.
    fn alarms(
        &self,
        tasks: &mut Tasks,
        (alarms, urls): (Vec<Alarm>, BTreeMap<String, WebhookUrl>),
        helpers: &Stop,
    ) {
        if alarms.is_empty() {
            return;
        }
        let mut webhooks = BTreeMap::new();
        for (alarm, url) in urls {
            let (webhook, courier) = Webhook::new(url);
            let mut stop = helpers.clone();
            tasks.set.spawn(async move {
                courier.run(async move { stop.reached(Phase::Stop).await }).await;
                (None, Ok(()))
            });
            webhooks.insert(alarm, webhook);
        }
        let watched =
            alarms::Alarms { alarms, window: self.config.analyze.window, clock: self.clock.clone() };
        let rules =
            watched.alarms.iter().map(|alarm| (alarm.name().to_owned(), alarm.rule().clone())).collect();
        let (backend, stop) = (self.backend.clone(), helpers.clone());
        tasks.set.spawn(async move {
            let notify = move |changed| notify(changed, &rules, &webhooks);
            (None, alarms::watch(&backend, watched, notify, stop).await.map_err(Error::from))
        });
    }
}

/// The stop of a stage that is about to be spawned.
fn stage(tasks: &mut Tasks, stage: Stage) -> Stop {
    let (stopper, stop) = channel();
    tasks.stages.insert(stage, stopper);
    stop
}

type Rules = BTreeMap<String, crate::engine::alarm::Rule>;

/// Logs a change, and calls the alarm's webhook if it is about being in alarm.
fn notify(changed: alarms::Changed, rules: &Rules, webhooks: &BTreeMap<String, Webhook>) {
    let alarms::Changed { transition, contact, top_hosts, at } = changed;
    let alarm = transition.alarm.clone();
    let (from, to) = (transition.from, transition.to);
    let text = format!("{alarm}: {} is {to}: {}", transition.application, transition.reason);
    if to == State::Alarm {
        tracing::warn!(contact, "alarm {text}");
    } else {
        tracing::info!(contact, "alarm {text}");
    }
    if ![from, to].contains(&State::Alarm) {
        return;
    }
    if let (Some(webhook), Some(rule)) = (webhooks.get(&alarm), rules.get(&alarm)) {
        let notification = Notification::of(transition, rule.clone(), at);
        webhook.notify(&Notification { contact, top_hosts, ..notification });
    }
}

/// Looks at the reference data now and then, and on SIGHUP, until the stop.
async fn keep_in_force(
    mut watched: Watched<ReferencePlace>,
    sender: watch::Sender<Arc<Reference>>,
    every: Duration,
    (mut stop, mut reloads): (Stop, Reloads),
) {
    loop {
        tokio::select! {
            () = stop.reached(Phase::Stop) => return,
            () = reloads.next() => {}
            () = tokio::time::sleep(every) => {}
        }
        match watched.refresh().await {
            Ok(None) => {}
            Ok(Some(difference)) => {
                tracing::info!("reference data reloaded: {difference}");
                sender.send_replace(watched.current());
            }
            Err(error) => tracing::error!("keeping the last good reference data: {error}"),
        }
    }
}

/// Says once a minute how many lines were counted and how far behind the tip each shard is.
async fn say_where(board: Arc<Board>, mut stop: Stop) {
    let mut ticks = tokio::time::interval_at(Instant::now() + REPORT_EVERY, REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = 0;
    loop {
        tokio::select! {
            () = stop.reached(Phase::Stop) => return,
            _ = ticks.tick() => {}
        }
        let read: u64 = board.iter().map(|shard| shard.read).sum();
        let behind_ms = board.iter().map(|shard| shard.behind_ms).max().unwrap_or_default();
        tracing::info!(lines = read.saturating_sub(last), behind_ms, "in the last minute");
        last = read;
    }
}
