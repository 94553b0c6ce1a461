//! The last datapoints of one application, and its state. Knows no time.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::engine::alarm::{
    Missing, Rule, State,
    evaluate::{Outcome, evaluate, reach},
};

/// One application of one alarm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Series {
    state: State,
    /// Oldest first, at most [`reach`] of them; `None` is a window without data.
    points: VecDeque<Option<u64>>,
}

impl Series {
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Takes the datapoint of the next window; the reason if that changed the state.
    pub(super) fn observe(&mut self, rule: &Rule, missing: Missing, value: Option<u64>) -> Option<String> {
        self.points.push_back(value);
        while self.points.len() > reach(rule) {
            self.points.pop_front();
        }
        let outcome = evaluate(rule, missing, self.state, self.points.iter().rev().copied());
        if outcome.state == self.state {
            return None;
        }
        self.state = outcome.state;
        Some(reason(rule, value, outcome))
    }
}

/// `142 > 100 in 1 of 1 windows`; the latest value leads where it breaches, and else trails.
fn reason(rule: &Rule, value: Option<u64>, outcome: Outcome) -> String {
    let breaching = outcome.breaching + outcome.assumed;
    let without_data = match outcome.assumed {
        0 => String::new(),
        assumed => format!(" ({assumed} of them without data)"),
    };
    let (condition, windows) = (rule.condition(), rule.windows());
    let share = format!("{condition} in {breaching} of {windows} windows{without_data}");
    match value {
        Some(value) if rule.breaches(value) => format!("{value} {share}"),
        Some(value) => format!("{share}, the latest {value}"),
        None => format!("{share}, the latest without data"),
    }
}
