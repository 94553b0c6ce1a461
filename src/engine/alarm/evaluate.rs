//! Datapoints of one application → its state, as CloudWatch decides it. Keeps nothing.
//!
//! Source: Amazon CloudWatch User Guide, "Configuring how CloudWatch alarms treat missing data"; its two tables are
//! the tests below.

use crate::engine::alarm::{Missing, Rule, State};

/// So many datapoints beyond the N of a rule are in reach, to stand in for missing ones. The guide's examples have 5
/// for N = 3 and leave the general number open.
const SPARE_WINDOWS: usize = 2;

/// How many datapoints back a rule looks: the guide's evaluation range.
pub(super) fn reach(rule: &Rule) -> usize {
    rule.windows() + SPARE_WINDOWS
}

/// What one evaluation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The state from now on.
    pub(super) state: State,
    /// Datapoints that breach, of the N judged.
    pub(super) breaching: usize,
    /// Missing datapoints that were taken as breaching.
    pub(super) assumed: usize,
}

/// Judges the newest datapoints, given newest first and at most [`reach`] of them.
///
/// The latest N real datapoints decide, wherever in reach they lie. If there are fewer, missing ones fill up as
/// `missing` says, but only those of windows that were observed: an alarm that has just begun assumes nothing.
pub(super) fn evaluate(
    rule: &Rule,
    missing: Missing,
    state: State,
    newest_first: impl Iterator<Item = Option<u64>>,
) -> Outcome {
    let points = Points::of(rule, newest_first);
    let assumed = match missing {
        Missing::Breaching => (rule.windows() - points.real).min(points.missing),
        Missing::NotBreaching | Missing::Ignore | Missing::Missing => 0,
    };
    let state = if points.breaching + assumed >= rule.needed() {
        State::Alarm
    } else if points.real == rule.windows() || points.real > points.breaching {
        State::Ok
    } else {
        match missing {
            Missing::NotBreaching | Missing::Breaching => State::Ok,
            Missing::Ignore => state,
            Missing::Missing if points.oldest_breach >= rule.needed() => State::Alarm,
            Missing::Missing => State::InsufficientData,
        }
    };
    Outcome { state, breaching: points.breaching, assumed }
}

/// The datapoints that are judged, in numbers.
#[derive(Default)]
struct Points {
    real: usize,
    breaching: usize,
    /// Windows without data, down to the last real datapoint that is needed.
    missing: usize,
    /// How many windows ago the oldest breaching datapoint was, the latest window being 1; 0 if there is none. If
    /// nothing else is known and it is at least M, the guide calls it a premature alarm: waiting would tell no more.
    oldest_breach: usize,
}

impl Points {
    fn of(rule: &Rule, newest_first: impl Iterator<Item = Option<u64>>) -> Self {
        let mut points = Self::default();
        for (age, value) in (1..=reach(rule)).zip(newest_first) {
            let Some(value) = value else {
                points.missing += 1;
                continue;
            };
            points.real += 1;
            if rule.breaches(value) {
                points.breaching += 1;
                points.oldest_breach = age;
            }
            if points.real == rule.windows() {
                break;
            }
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use State::{Alarm, InsufficientData, Ok};

    use super::*;

    const TREATMENTS: [Missing; 4] =
        [Missing::Missing, Missing::Ignore, Missing::Breaching, Missing::NotBreaching];

    /// `0` within the threshold, `X` breaching, `-` missing, the latest last, as the guide writes it.
    fn judged(rule: &str, points: &str, missing: Missing, state: State) -> State {
        let points = points.split(' ').rev().map(|point| match point {
            "0" => Some(0),
            "X" => Some(101),
            _ => None,
        });
        evaluate(&rule.parse().unwrap(), missing, state, points).state
    }

    /// `None`: the state is retained.
    fn check(rule: &str, table: &[(&str, [Option<State>; 4])]) {
        for (points, states) in table {
            for (missing, expected) in TREATMENTS.into_iter().zip(states) {
                for before in [Ok, Alarm, InsufficientData] {
                    assert_eq!(
                        judged(rule, points, missing, before),
                        expected.unwrap_or(before),
                        "{rule}: {points} with {missing:?} after {before}"
                    );
                }
            }
        }
    }

    #[test]
    fn three_of_three_is_as_the_guide_has_it() {
        let all = |state| [Some(state); 4];
        let retained = |state| [Some(state), None, Some(Alarm), Some(Ok)];
        check(
            "x > 100 for 3 of 3",
            &[
                ("0 - X - X", all(Ok)),
                ("0 - - - -", all(Ok)),
                ("- - - - -", retained(InsufficientData)),
                ("0 X X - X", all(Alarm)),
                ("- - X - -", retained(Alarm)),
                // From the text below the tables: too early to tell.
                ("- - - - X", retained(InsufficientData)),
                ("- - - X -", retained(InsufficientData)),
            ],
        );
    }

    #[test]
    fn two_of_three_is_as_the_guide_has_it() {
        let all = |state| [Some(state); 4];
        let filled = [Some(Ok), Some(Ok), Some(Alarm), Some(Ok)];
        check(
            "x > 100 for 2 of 3",
            &[
                ("0 - X - X", all(Alarm)),
                ("0 0 X 0 X", all(Alarm)),
                ("0 - X - -", filled),
                ("- - - - 0", filled),
                ("- - - X -", [Some(Alarm), None, Some(Alarm), Some(Ok)]),
                ("X X X 0 0", all(Ok)),
            ],
        );
    }

    #[test]
    fn an_alarm_that_has_just_begun_assumes_nothing() {
        let rule = "x > 100 for 2 of 3";
        assert_eq!(judged(rule, "0", Missing::Breaching, InsufficientData), Ok);
        assert_eq!(judged(rule, "X", Missing::Breaching, InsufficientData), Ok);
        assert_eq!(judged(rule, "X -", Missing::Breaching, InsufficientData), Alarm);
        assert_eq!(judged(rule, "X", Missing::Missing, InsufficientData), InsufficientData);
    }

    #[test]
    fn one_of_one_keeps_its_last_datapoint_in_reach() {
        let rule = "x > 100";
        for (points, state) in [("X - -", Alarm), ("X - - -", Ok), ("X 0", Ok), ("0 X", Alarm)] {
            assert_eq!(judged(rule, points, Missing::NotBreaching, Ok), state, "{points}");
        }
    }
}
