//! What befalls the fleet from outside: clocks jump, streams are resharded, reference data changes, somebody starts a
//! stage twice. Runs no stage for long.

use std::{sync::Arc, time::Duration};

use logtally::{
    backend::Stream,
    engine::reference::Reference,
    stop::{Phase, channel},
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::{
    stages::{Ending, Role},
    world::World,
};

/// How far a clock may be wrong, in milliseconds: within what windows and leases last ...
const JUMPS_MS: [u64; 3] = [1_000, 30_000, 600_000];
/// ... and once in so many times by a day, which closes more windows than all the rest of a life.
const FAR_ONCE_IN: u64 = 16;
const FAR_MS: u64 = 86_400_000;

/// Waits for so many seconds on average; for ever for 0.
async fn gap(world: &World, every_s: u64) {
    let wait_ms = world.lock().random.below(every_s * 2_000).max(1);
    sleep(if every_s == 0 { Duration::MAX } else { Duration::from_millis(wait_ms) }).await;
}

/// Everything of this kind, until it is dropped.
pub(crate) fn weather(
    world: &Arc<World>,
    roles: &[Role],
    hosts: watch::Sender<Arc<Reference>>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let plan = &world.plan.weather;
    let (jump_s, reshard_s, reload_s, intruder_s) = (plan.jump, plan.reshard, plan.reload, plan.intruder);
    let (there, all) = (Arc::clone(world), roles.to_vec());
    tasks.spawn(async move {
        loop {
            gap(&there, jump_s).await;
            jump(&there, &all);
        }
    });
    let there = Arc::clone(world);
    tasks.spawn(async move {
        loop {
            gap(&there, reshard_s).await;
            reshard(&there);
        }
    });
    let there = Arc::clone(world);
    tasks.spawn(async move {
        let mut list = Hosts::new();
        loop {
            gap(&there, reload_s).await;
            list.reload(&there, &hosts);
        }
    });
    let (there, all) = (Arc::clone(world), roles.to_vec());
    tasks.spawn(async move {
        for life in 1_000.. {
            gap(&there, intruder_s).await;
            intrude(&there, &all, life).await;
        }
    });
    tasks
}

fn jump(world: &World, roles: &[Role]) {
    let (role, ahead_ms) = {
        let random = &mut world.lock().random;
        let is_far = random.below(FAR_ONCE_IN) == 0;
        let most = if is_far { FAR_MS } else { JUMPS_MS[random.index(JUMPS_MS.len())] };
        let ahead_ms = i64::try_from(random.below(2 * most)).unwrap_or_default();
        (random.index(roles.len()), ahead_ms - i64::try_from(most).unwrap_or_default())
    };
    roles[role].jump(ahead_ms);
    let is_far = ahead_ms.abs() > 7_200_000;
    world.lock().count(if is_far { "clock jump by hours" } else { "clock jump" });
    world.note(format_args!("the clock of node {} is ahead by {ahead_ms} ms", roles[role].node));
}

fn reshard(world: &World) {
    let state = &mut *world.lock();
    let stream = [Stream::Input, Stream::Input, Stream::Output][state.random.index(3)];
    let random = &mut super::random::Random::new(state.random.next());
    let now = state.trace.now();
    if let Some((what, parents)) = state.stream(stream).reshard(now, random) {
        state.count(what);
        state.trace.note(format_args!("{what} of {stream:?} {parents:?}"));
    }
}

/// Reference data, and the hosts that lines may name: of a new entry only once it is in force everywhere.
#[derive(Debug)]
pub(crate) struct Hosts {
    rows: Vec<(String, String)>,
    reloads: usize,
}

impl Hosts {
    pub(crate) fn new() -> Self {
        let row = |(host, application): (&str, &str)| (host.to_owned(), application.to_owned());
        let rows = [
            ("10.0.0.1", "Billing"),
            ("10.0.0.2", "Billing"),
            ("web.example.com", "Search"),
            ("10.1.0.0/16", "Shop"),
        ];
        Self { rows: rows.map(row).to_vec(), reloads: 0 }
    }

    pub(crate) fn reference(&self) -> Arc<Reference> {
        let row = |(host, application): &(String, String)| {
            format!("{host},{application},{application}@example.com\n")
        };
        let rows: String = self.rows.iter().map(row).collect();
        let csv = format!("Host,ApplicationName,Contact\n{rows}");
        Arc::new(Reference::parse(csv.as_bytes()).expect("reference data").reference)
    }

    /// Hosts of these entries, and some of none.
    pub(crate) fn known(&self) -> Vec<String> {
        let host = |(host, _): &(String, String)| host.replace(".0/16", ".7");
        self.rows.iter().map(host).chain(["192.0.2.1".to_owned(), "192.0.2.2".to_owned()]).collect()
    }

    /// Adds an entry for an application before or behind the others, and moves one that no line has named yet.
    fn reload(&mut self, world: &World, hosts: &watch::Sender<Arc<Reference>>) {
        self.reloads += 1;
        let new = format!("10.9.0.{}", self.reloads);
        let application = ["Accounts", "Billing", "Zoo"][self.reloads % 3];
        self.rows.insert(0, (new, format!("{application} {}", self.reloads / 2)));
        hosts.send_replace(self.reference());
        let state = &mut *world.lock();
        state.hosts = self.known();
        state.count("reload");
        state.trace.note(format_args!("reference data {} is in force", self.reloads));
    }
}

/// Starts a stage that runs already.
async fn intrude(world: &World, roles: &[Role], life: u64) {
    let role = {
        let random = &mut world.lock().random;
        roles[random.index(roles.len())].clone()
    };
    let process = role.process(life);
    let (stopper, stop) = channel();
    let mut tasks = JoinSet::new();
    world.note(format_args!("{} intrudes", process.name()));
    tasks.spawn(role.run(process.clone(), stop));
    let mut patience = Box::pin(sleep(Duration::from_secs(3)));
    let ended = loop {
        tokio::select! {
            biased;
            () = process.killed() => break None,
            ended = tasks.join_next() => break ended,
            () = &mut patience, if stopper.subscribe().phase() == Phase::Run => stopper.set(Phase::Stop),
        }
    };
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    process.die();
    let name = process.name();
    world.note(format_args!("{name} intruded: {ended:?}"));
    match ended {
        Some(Ok(Ending::Closed)) => world.lock().count("second process refused"),
        Some(Ok(Ending::Wrong(why))) => world.wrong(format!("{name} ended: {why}")),
        Some(Err(why)) => world.wrong(format!("{name} ended: {why}")),
        Some(Ok(Ending::Well | Ending::Injected)) | None => {}
    }
}
