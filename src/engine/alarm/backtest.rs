//! When an alarm would have fired, and for how long. Reads no log.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::{
    alarm::{Alarm, State},
    time::Timestamp,
};

/// The most episodes that a back-test keeps: the first ones. Further ones are counted by [`Report::further`].
pub const MAX_EPISODES: usize = 10_000;

/// One time for which an application would have been in alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Episode {
    /// The application.
    pub application: String,
    /// Start of the window that set the alarm off.
    pub from: Timestamp,
    /// Start of the window that ended it; absent if the log ended first.
    pub until: Option<Timestamp>,
    /// Windows in alarm: `from` inclusive to `until` exclusive, or to the last one.
    pub windows: u64,
    /// The value furthest on the breaching side in these windows; absent if none had data.
    pub peak: Option<u64>,
    /// Why it went off.
    pub reason: String,
}

/// What a back-test found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By `from`, then by application.
    pub episodes: Vec<Episode>,
    /// Episodes beyond [`MAX_EPISODES`].
    pub further: u64,
}

/// An alarm, and the episodes it went through.
#[derive(Clone, Debug)]
pub struct Backtest {
    alarm: Alarm,
    open: BTreeMap<String, Episode>,
    report: Report,
}

impl Backtest {
    /// Watches `alarm`, which as a rule has seen nothing yet.
    #[must_use]
    pub fn new(alarm: Alarm) -> Self {
        Self { alarm, open: BTreeMap::new(), report: Report::default() }
    }

    /// As [`Alarm::observe`].
    pub fn observe(&mut self, window: Timestamp, sums: &BTreeMap<String, u64>) {
        for transition in self.alarm.observe(window, sums) {
            match transition.to {
                State::Alarm => {
                    let episode = Episode {
                        application: transition.application.clone(),
                        from: transition.window_start,
                        until: None,
                        windows: 0,
                        peak: transition.value,
                        reason: transition.reason,
                    };
                    self.open.insert(transition.application, episode);
                }
                State::Ok | State::InsufficientData => {
                    if let Some(episode) = self.open.remove(&transition.application) {
                        self.close(episode, Some(transition.window_start));
                    }
                }
            }
        }
        for (application, episode) in &mut self.open {
            let values = [episode.peak, sums.get(application).copied()];
            let rule = self.alarm.rule();
            episode.peak = values.into_iter().flatten().reduce(|left, right| rule.worse(left, right));
        }
    }

    /// The alarm as it stands.
    #[must_use]
    pub fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// All episodes, those that are still open included.
    #[must_use]
    pub fn finish(mut self) -> Report {
        for episode in std::mem::take(&mut self.open).into_values() {
            self.close(episode, None);
        }
        let order = |one: &Episode, other: &Episode| {
            (one.from, &one.application).cmp(&(other.from, &other.application))
        };
        self.report.episodes.sort_by(order);
        self.report
    }

    fn close(&mut self, mut episode: Episode, until: Option<Timestamp>) {
        if self.report.episodes.len() >= MAX_EPISODES {
            self.report.further += 1;
            return;
        }
        let size = self.alarm.window.as_millis();
        let end = until.or_else(|| self.alarm.last.map(|last| last.plus_millis(size)));
        let millis = end.map_or(0, |end| end.millis_since(episode.from));
        episode.windows = u64::try_from(millis / size).unwrap_or_default();
        episode.until = until;
        self.report.episodes.push(episode);
    }
}
