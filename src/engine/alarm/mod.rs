//! Alarm rules over window sums, and their states. Sends nothing and stores nothing.
//!
//! `deliver` feeds an [`Alarm`] the sums of each window once it is complete, and stores it with the checkpoint;
//! `replay` feeds a [`Backtest`] in the same way. Corrections of a window are not fed again, as CloudWatch's alarms
//! are not re-evaluated either (DESIGN.md, invariant 3).

mod backtest;
mod evaluate;
mod rule;
mod series;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

pub use backtest::{Backtest, Episode, MAX_EPISODES, Report};
pub use rule::{MAX_NAME, MAX_WINDOWS, Rule, RuleError, Target};

use crate::engine::time::{Timestamp, WindowSize};
use series::Series;

/// The most applications that one alarm watches. The datapoints of further ones are counted by
/// [`Alarm::unwatched`] and not judged.
pub const MAX_APPLICATIONS: usize = 10_000;

/// What an alarm knows of one application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// The rule does not apply.
    #[serde(rename = "OK")]
    Ok,
    /// The rule applies.
    #[serde(rename = "ALARM")]
    Alarm,
    /// Just begun, or too little data to tell.
    #[default]
    #[serde(rename = "INSUFFICIENT_DATA")]
    InsufficientData,
}

impl State {
    /// The name that CloudWatch gives it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What stands in for a window without data, where too few others have any: CloudWatch's `TreatMissingData`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Missing {
    /// It counts as within the threshold.
    #[default]
    NotBreaching,
    /// It counts as breaching.
    Breaching,
    /// The state stays as it is.
    Ignore,
    /// It counts as nothing: without any data the state is [`State::InsufficientData`].
    Missing,
}

/// An application changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// The alarm's name.
    pub alarm: String,
    /// The application.
    pub application: String,
    /// The state before.
    pub from: State,
    /// The state from now on.
    pub to: State,
    /// Start of the window that decided.
    pub window_start: Timestamp,
    /// Its end, exclusive.
    pub window_end: Timestamp,
    /// The application's requests in that window; absent where it has no data.
    pub value: Option<u64>,
    /// For people: `142 > 100 in 1 of 1 windows`.
    pub reason: String,
}

/// One rule and what it knows of its applications: what a checkpoint holds.
///
/// ```
/// use logtally::engine::{alarm::{Alarm, Missing, State}, time::{Timestamp, WindowSize}};
/// let rule = "Unknown > 100".parse()?;
/// let mut alarm = Alarm::new("strangers".into(), rule, Missing::default(), WindowSize::FIVE_MINUTES);
/// let sums = [("Unknown".to_owned(), 142)].into();
/// let transitions = alarm.observe(Timestamp::from_millis(0), &sums);
/// assert_eq!(transitions[0].to, State::Alarm);
/// assert_eq!(transitions[0].reason, "142 > 100 in 1 of 1 windows");
/// # Ok::<(), logtally::engine::alarm::RuleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    name: String,
    rule: Rule,
    missing: Missing,
    window: WindowSize,
    last: Option<Timestamp>,
    applications: BTreeMap<String, Series>,
    unwatched: u64,
    out_of_order: u64,
}

impl Alarm {
    /// An alarm that has seen nothing yet.
    #[must_use]
    pub fn new(name: String, rule: Rule, missing: Missing, window: WindowSize) -> Self {
        let applications = match rule.target() {
            Target::Application(application) => [(application.clone(), Series::default())].into(),
            Target::Each => BTreeMap::new(),
        };
        Self { name, rule, missing, window, last: None, applications, unwatched: 0, out_of_order: 0 }
    }

    /// Judges one complete window, given by its start, from the sum of requests of each application.
    ///
    /// Windows come in ascending order, each once; one that does not is counted by [`Self::out_of_order`] and passed
    /// over. The windows of a gap are missing data for every application, and so is, in any window, an application
    /// that `sums` lacks: of a rule for `*` those seen before, of a rule for one application that one. Transitions
    /// come by window, then by application. The work over a gap is bounded, whatever its length.
    pub fn observe(&mut self, window: Timestamp, sums: &BTreeMap<String, u64>) -> Vec<Transition> {
        let window = self.window.start_of(window);
        let mut transitions = Vec::new();
        if let Some(last) = self.last {
            if window <= last {
                self.out_of_order += 1;
                return transitions;
            }
            self.cross(last, window, &mut transitions);
        }
        self.admit(sums);
        self.last = Some(window);
        self.step(window, sums, &mut transitions);
        transitions
    }

    /// The alarm's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Whether this state is one of the given rule, treatment of missing data and window size: if not, what was
    /// stored says nothing about them.
    #[must_use]
    pub fn is_of(&self, rule: &Rule, missing: Missing, window: WindowSize) -> bool {
        self.rule == *rule && self.missing == missing && self.window == window
    }

    /// Whether `other` is of the same name, rule, treatment of missing data and window size.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.is_of(&other.rule, other.missing, other.window)
    }

    /// The size of the windows judged.
    #[must_use]
    pub fn window(&self) -> WindowSize {
        self.window
    }

    /// The last window judged; absent before the first.
    #[must_use]
    pub fn last_window(&self) -> Option<Timestamp> {
        self.last
    }

    /// Each application with its state, by name.
    pub fn states(&self) -> impl Iterator<Item = (&str, State)> {
        let series = self.applications.iter();
        series.map(|(application, series)| (application.as_str(), series.state()))
    }

    /// Datapoints not judged because of [`MAX_APPLICATIONS`].
    #[must_use]
    pub fn unwatched(&self) -> u64 {
        self.unwatched
    }

    /// Windows not judged because they came too late or twice.
    #[must_use]
    pub fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// The windows between `last` and `window`. Once every datapoint in reach is missing, no state changes any
    /// more, so the rest of a long gap need not be walked.
    fn cross(&mut self, last: Timestamp, window: Timestamp, transitions: &mut Vec<Transition>) {
        let size = self.window.as_millis();
        let missing = window.millis_since(last) / size - 1;
        let reach = i64::try_from(evaluate::reach(&self.rule)).unwrap_or(i64::MAX);
        for step in 1..=missing.min(reach) {
            self.step(last.plus_millis(step * size), &BTreeMap::new(), transitions);
        }
    }

    fn admit(&mut self, sums: &BTreeMap<String, u64>) {
        match self.rule.target() {
            Target::Application(_) => {}
            Target::Each => {
                for application in sums.keys() {
                    if self.applications.contains_key(application) {
                        continue;
                    }
                    if self.applications.len() < MAX_APPLICATIONS {
                        self.applications.insert(application.clone(), Series::default());
                    } else {
                        self.unwatched += 1;
                    }
                }
            }
        }
    }

    fn step(&mut self, window: Timestamp, sums: &BTreeMap<String, u64>, transitions: &mut Vec<Transition>) {
        for (application, series) in &mut self.applications {
            let value = sums.get(application).copied();
            let from = series.state();
            let Some(reason) = series.observe(&self.rule, self.missing, value) else {
                continue;
            };
            transitions.push(Transition {
                alarm: self.name.clone(),
                application: application.clone(),
                from,
                to: series.state(),
                window_start: window,
                window_end: self.window.end_of(window),
                value,
                reason,
            });
        }
    }
}

#[cfg(test)]
mod tests;
