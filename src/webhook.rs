//! Calls a webhook when an alarm changes. Never blocks the pipeline, and never shows the URL, which is a secret.
//!
//! [`Webhook::notify`] puts a notification into a bounded queue; [`Courier::run`], a task of its own, takes them out
//! in order and posts them as JSON, one at a time, with retries.

mod post;
mod url;

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::Notify;
use tracing::{debug, warn};

pub use url::{WebhookUrl, WebhookUrlError};

use crate::{
    engine::{
        alarm::{Rule, State, Transition},
        backoff::Backoff,
        row::HostCount,
        time::Timestamp,
    },
    render::json::write_line,
};
use post::{Answer, Poster};

/// Notifications that wait. Past it the oldest is dropped, counted and logged: the latest state matters most.
pub const QUEUE: usize = 256;

/// Attempts for one notification; then it is given up, counted and logged.
pub const ATTEMPTS: u32 = 5;

/// The longest that one attempt takes, from looking up the host to the answer.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that [`Courier::run`] goes on after shutdown, to deliver what waits.
pub const GRACE: Duration = Duration::from_secs(10);

/// The time between attempts.
pub const BACKOFF: Backoff = Backoff { base_ms: 500, max_ms: 30_000 };

/// The body of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// The alarm's name.
    pub alarm: String,
    /// Its rule.
    pub rule: Rule,
    /// The application.
    pub application: String,
    /// Whom to contact about it; empty for `Unknown`.
    pub contact: String,
    /// The state from now on.
    pub state: State,
    /// The state before.
    pub previous_state: State,
    /// Start of the window that decided.
    pub window_start: Timestamp,
    /// Its end, exclusive.
    pub window_end: Timestamp,
    /// The requests in that window; absent where it has no data.
    pub value: Option<u64>,
    /// For people: `142 > 100 in 1 of 1 windows`.
    pub reason: String,
    /// The heaviest unknown hosts of the window, heaviest first.
    pub top_hosts: Vec<HostCount>,
    /// When the change was found.
    pub at: Timestamp,
}

impl Notification {
    /// A change of state, found at `at`; contact and hosts are for the caller to fill in.
    #[must_use]
    pub fn of(transition: Transition, rule: Rule, at: Timestamp) -> Self {
        Self {
            alarm: transition.alarm,
            rule,
            application: transition.application,
            contact: String::new(),
            state: transition.to,
            previous_state: transition.from,
            window_start: transition.window_start,
            window_end: transition.window_end,
            value: transition.value,
            reason: transition.reason,
            top_hosts: Vec::new(),
            at,
        }
    }
}

/// What became of the notifications: those that are none of these are waiting or under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Taken by [`Webhook::notify`].
    pub notified: u64,
    /// Answered with a status of 2xx.
    pub delivered: u64,
    /// Dropped because [`QUEUE`] others waited, or because they came after shutdown.
    pub dropped: u64,
    /// Given up after [`ATTEMPTS`], refused by the receiver, or not delivered within [`GRACE`].
    pub failed: u64,
}

/// Where notifications are handed in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhook {
    shared: Arc<Shared>,
}

impl Webhook {
    /// A webhook and the courier that serves it.
    #[must_use]
    pub fn new(url: WebhookUrl) -> (Self, Courier) {
        Self::with(url, Policy::default())
    }

    fn with(url: WebhookUrl, policy: Policy) -> (Self, Courier) {
        let shared = Arc::new(Shared::default());
        let courier =
            Courier { shared: Arc::clone(&shared), poster: Poster::new(url, policy.timeout), policy };
        (Self { shared }, courier)
    }

    /// Hands in a notification. Never waits; may drop the oldest that does.
    pub fn notify(&self, event: &Notification) {
        let dropped = self.shared.lock().push(event.clone());
        if let Some(dropped) = dropped {
            warn!(
                alarm = ?dropped.alarm, application = ?dropped.application, state = %dropped.state,
                "webhook: dropped the oldest notification: {QUEUE} wait, or the process is stopping"
            );
        }
        self.shared.changed.notify_one();
    }

    /// What became of the notifications so far.
    #[must_use]
    pub fn fates(&self) -> Fates {
        self.shared.lock().fates
    }
}

/// Delivers what is handed in at its [`Webhook`].
#[derive(Debug)]
pub struct Courier {
    shared: Arc<Shared>,
    poster: Poster,
    policy: Policy,
}

/// The constants above, except in tests.
#[derive(Clone, Copy, Debug)]
struct Policy {
    timeout: Duration,
    attempts: u32,
    backoff: Backoff,
    grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { timeout: TIMEOUT, attempts: ATTEMPTS, backoff: BACKOFF, grace: GRACE }
    }
}

impl Courier {
    /// Delivers until `shutdown`, then what waits, for at most [`GRACE`]; an attempt that is then under way may hold
    /// its thread for the rest of [`TIMEOUT`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut work = std::pin::pin!(self.work());
        tokio::select! {
            () = shutdown => {}
            () = &mut work => {}
        }
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if tokio::time::timeout(self.policy.grace, work).await.is_err() {
            let undelivered = self.shared.lock().abandon();
            warn!(webhook = %self.poster, undelivered, "webhook: stopped with notifications undelivered");
        }
    }

    async fn work(&self) {
        while let Some(event) = self.shared.next().await {
            let delivered = self.deliver(&event).await;
            self.shared.lock().settle(delivered);
        }
    }

    /// One notification, with retries; whether it arrived.
    async fn deliver(&self, event: &Notification) -> bool {
        let mut body = Vec::new();
        // A Vec takes every write, and a notification is JSON.
        drop(write_line(&mut body, event));
        let body = Arc::new(body);
        for attempt in 0..self.policy.attempts {
            match self.poster.post(Arc::clone(&body)).await {
                Answer::Taken => {
                    debug!(webhook = %self.poster, alarm = ?event.alarm, attempt, "webhook: delivered");
                    return true;
                }
                Answer::Refused(why) => {
                    warn!(webhook = %self.poster, alarm = ?event.alarm, why, "webhook: refused, given up");
                    return false;
                }
                Answer::Failed(why) if attempt + 1 < self.policy.attempts => {
                    // Without random numbers there is no jitter, and the longest delay is the kindest.
                    let random = getrandom::u64().unwrap_or(u64::MAX);
                    let delay = self.policy.backoff.delay(attempt, random);
                    warn!(webhook = %self.poster, alarm = ?event.alarm, why, ?delay, "webhook: failed, will retry");
                    tokio::time::sleep(delay).await;
                }
                Answer::Failed(why) => {
                    let attempts = self.policy.attempts;
                    warn!(webhook = %self.poster, alarm = ?event.alarm, why, attempts, "webhook: failed, given up");
                }
            }
        }
        false
    }
}

/// What the two ends have in common.
#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Notification>,
    closed: bool,
    fates: Fates,
}

impl Shared {
    /// The queue is whole between any two statements of its holders, so that a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next notification; `None` once the queue is closed and empty.
    async fn next(&self) -> Option<Notification> {
        loop {
            {
                let mut queue = self.lock();
                if let Some(event) = queue.waiting.pop_front() {
                    return Some(event);
                }
                if queue.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }
}

impl Queue {
    /// Appends; the one that had to go for it, if any.
    fn push(&mut self, event: Notification) -> Option<Notification> {
        self.fates.notified += 1;
        let dropped = if self.closed {
            Some(event)
        } else {
            let oldest = (self.waiting.len() >= QUEUE).then(|| self.waiting.pop_front());
            self.waiting.push_back(event);
            oldest.flatten()
        };
        self.fates.dropped += u64::from(dropped.is_some());
        dropped
    }

    fn settle(&mut self, delivered: bool) {
        if delivered {
            self.fates.delivered += 1;
        } else {
            self.fates.failed += 1;
        }
    }

    /// Gives up what waits and what is under way; how many that were.
    fn abandon(&mut self) -> u64 {
        self.waiting.clear();
        let Fates { notified, delivered, dropped, failed } = self.fates;
        let undelivered = notified - delivered - dropped - failed;
        self.fates.failed += undelivered;
        undelivered
    }
}

#[cfg(test)]
mod tests;
