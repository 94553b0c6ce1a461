//! The alarms of the embedded backend: sums of complete windows in, transitions out. Publishes nothing.
//!
//! A window is evaluated once, when every shard has closed it on time (the heartbeats add up), or [`GRACE_MS`] after
//! its end: then with whatever is there, as `CloudWatch` does. Corrections that come later are not evaluated again.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::MissedTickBehavior;

use crate::{
    backend::{
        Backend, BackendError,
        embedded::{
            Embedded,
            alarms::{StoredAlarm, Transition as Stored},
        },
        retry::Retry,
    },
    clock::Clock,
    engine::{
        alarm::{Alarm, MAX_APPLICATIONS, Transition},
        metric::{Datum, HEARTBEAT, REQUEST_COUNT},
        row::HostCount,
        time::{Timestamp, WindowSize},
    },
    stop::{Phase, Stop},
};

/// How long after its end a window is evaluated though a shard has not closed it, in milliseconds.
pub const GRACE_MS: i64 = 120_000;
/// Heartbeats of a window that every shard has closed add up to at least this.
const ALL_SHARDS: f64 = 0.999;
/// How often it is looked whether a window is complete.
const EVERY: Duration = Duration::from_millis(500);

/// Which alarms to watch.
#[derive(Clone, Debug)]
pub struct Alarms {
    /// As configured; their stored states replace them where rule and window are still the same.
    pub alarms: Vec<Alarm>,
    /// The windows of `analyze`.
    pub window: WindowSize,
    /// The time of day.
    pub clock: Clock,
}

/// An alarm changed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What changed.
    pub transition: Transition,
    /// Whom to contact; empty if nobody is known.
    pub contact: String,
    /// The heaviest unknown hosts of the window, for the application `Unknown`.
    pub top_hosts: Vec<HostCount>,
    /// When.
    pub at: Timestamp,
}

/// Evaluates alarms until `stop`. Each change is stored with its history, then given to `notify`.
///
/// # Errors
/// What the file fails with.
pub async fn watch(
    backend: &Embedded,
    alarms: Alarms,
    notify: impl Fn(Changed) + Send,
    mut stop: Stop,
) -> Result<(), BackendError> {
    let mut watching = Watching::open(backend, alarms).await?;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retry = Retry::new("evaluating alarms", &stop);
    loop {
        tokio::select! {
            biased;
            () = stop.reached(Phase::Drain) => return Ok(()),
            _ = ticks.tick() => {}
        }
        if retry.attempt(watching.evaluate(&notify)).await?.is_some() {
            retry = Retry::new("evaluating alarms", &stop);
        }
    }
}

struct Watching<'a> {
    backend: &'a Embedded,
    alarms: Vec<Alarm>,
    window: WindowSize,
    clock: Clock,
    next: Timestamp,
}

impl<'a> Watching<'a> {
    async fn open(backend: &'a Embedded, alarms: Alarms) -> Result<Self, BackendError> {
        let Alarms { mut alarms, window, clock } = alarms;
        let mut next = window.start_of(clock.now());
        for stored in backend.alarms().load().await? {
            let Ok(known) = postcard::from_bytes::<Alarm>(&stored.state) else { continue };
            let same = |alarm: &&mut Alarm| alarm.is_same(&known);
            if let Some(alarm) = alarms.iter_mut().find(same) {
                next = known.last_window().map_or(next, |last| window.end_of(last).min(next));
                *alarm = known;
            }
        }
        Ok(Self { backend, alarms, window, clock, next })
    }

    async fn evaluate(&mut self, notify: &impl Fn(Changed)) -> Result<(), BackendError> {
        while self.is_complete(self.next).await? {
            let start = self.next;
            let sums = self.sums(start).await?;
            let mut alarms = self.alarms.clone();
            let observe = |alarm: &mut Alarm| match alarm.last_window() {
                Some(last) if last >= start => Vec::new(),
                _ => alarm.observe(start, &sums),
            };
            let changes = self.named(alarms.iter_mut().flat_map(observe).collect()).await?;
            self.store(&alarms, &changes).await?;
            for name in overfull(&self.alarms, &alarms) {
                tracing::warn!(alarm = ?name, "more than {MAX_APPLICATIONS} applications: the rest are not watched");
            }
            self.alarms = alarms;
            self.next = self.window.end_of(start);
            changes.into_iter().for_each(notify);
        }
        Ok(())
    }

    async fn is_complete(&self, start: Timestamp) -> Result<bool, BackendError> {
        let (end, now) = (self.window.end_of(start), self.clock.now());
        if now < end {
            return Ok(false);
        }
        let share: f64 = self.read(HEARTBEAT, start).await?.iter().map(|datum| datum.value).sum();
        Ok(share >= ALL_SHARDS || now.millis_since(end) >= GRACE_MS)
    }

    async fn read(&self, name: &str, start: Timestamp) -> Result<Vec<Datum>, BackendError> {
        self.backend.read_metrics(name, start, self.window.end_of(start)).await
    }

    async fn sums(&self, start: Timestamp) -> Result<BTreeMap<String, u64>, BackendError> {
        let mut sums = BTreeMap::new();
        for datum in self.read(REQUEST_COUNT, start).await? {
            let Some((_, application)) = datum.series.dimensions.into_iter().next() else { continue };
            *sums.entry(application).or_insert(0) += count(datum.value);
        }
        Ok(sums)
    }

    /// The transitions, with whom to contact and which hosts called.
    async fn named(&self, transitions: Vec<Transition>) -> Result<Vec<Changed>, BackendError> {
        if transitions.is_empty() {
            return Ok(Vec::new());
        }
        let contacts = self.backend.contacts().await?;
        let mut changes = Vec::with_capacity(transitions.len());
        for transition in transitions {
            let contact = contacts.get(&transition.application).cloned().unwrap_or_default();
            let mut top_hosts = Vec::new();
            if transition.application == crate::engine::row::UNKNOWN {
                let hosts = self.backend.top_hosts(transition.window_start, transition.window_end).await?;
                top_hosts = hosts.into_iter().map(|(_, host)| host).collect();
            }
            changes.push(Changed { transition, contact, top_hosts, at: self.clock.now() });
        }
        Ok(changes)
    }

    async fn store(&self, alarms: &[Alarm], changes: &[Changed]) -> Result<(), BackendError> {
        let at = self.clock.now();
        let mut states = Vec::with_capacity(alarms.len());
        for alarm in alarms {
            let state =
                postcard::to_stdvec(alarm).map_err(|why| BackendError::failed("encoding an alarm", why))?;
            states.push(StoredAlarm { name: alarm.name().to_owned(), state, updated: at });
        }
        let history = changes.iter().map(|changed| Stored {
            alarm: changed.transition.alarm.clone(),
            at,
            from: changed.transition.from.to_string(),
            to: changed.transition.to.to_string(),
            reason: changed.transition.reason.clone(),
            detail: serde_json::json!({
                "application": changed.transition.application,
                "contact": changed.contact,
                "windowStart": changed.transition.window_start,
                "value": changed.transition.value,
                "topHosts": changed.top_hosts,
            })
            .to_string(),
        });
        self.backend.alarms().save(states, history.collect()).await
    }
}

/// The alarms that could watch every application before, and cannot now.
fn overfull<'a>(before: &[Alarm], now: &'a [Alarm]) -> Vec<&'a str> {
    let pairs = before.iter().zip(now);
    let new = pairs.filter(|(before, now)| before.unwatched() == 0 && now.unwatched() > 0);
    new.map(|(_, now)| now.name()).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sums of counts are whole and not negative"
)]
fn count(sum: f64) -> u64 {
    sum.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::alarm::Missing;

    #[test]
    fn an_alarm_that_cannot_watch_all_is_told_once() {
        let new = || {
            vec![Alarm::new("a".to_owned(), "* > 0".parse().unwrap(), Missing::default(), WindowSize::MINUTE)]
        };
        let sums = |count: usize| (0..count).map(|number| (number.to_string(), 1)).collect();
        let (before, mut now) = (new(), new());
        now[0].observe(Timestamp::from_millis(0), &sums(MAX_APPLICATIONS));
        assert_eq!(overfull(&before, &now), Vec::<&str>::new());
        now[0].observe(Timestamp::from_millis(60_000), &sums(MAX_APPLICATIONS + 1));
        assert_eq!(overfull(&before, &now), ["a"]);
        assert_eq!(overfull(&now, &now), Vec::<&str>::new());
    }
}
