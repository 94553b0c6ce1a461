//! Alarms against examples and against a model that keeps everything. Tests only.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

const SIZE: i64 = 300_000;

fn alarm(rule: &str, missing: Missing) -> Alarm {
    Alarm::new("test".to_owned(), rule.parse().unwrap(), missing, WindowSize::FIVE_MINUTES)
}

fn at(window: i64) -> Timestamp {
    Timestamp::from_millis(window * SIZE)
}

fn sums(values: &[(&str, u64)]) -> BTreeMap<String, u64> {
    values.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
}

/// `window application from to (reason)`, a line each.
fn told(transitions: &[Transition]) -> String {
    let lines = transitions.iter().map(|change| {
        let window = change.window_start.as_millis() / SIZE;
        assert_eq!(change.window_end, at(window + 1));
        format!("{window} {} {} → {} ({})", change.application, change.from, change.to, change.reason)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn fed(alarm: &mut Alarm, windows: &[(i64, &[(&str, u64)])]) -> String {
    let changes = windows.iter().flat_map(|(window, values)| alarm.observe(at(*window), &sums(values)));
    told(&changes.collect::<Vec<_>>())
}

#[test]
fn a_named_application_fires_and_recovers() {
    let mut alarm = alarm("Unknown > 100", Missing::default());
    let text = fed(
        &mut alarm,
        &[
            (0, &[("Unknown", 100), ("Billing", 9_000)]),
            (1, &[("Unknown", 142)]),
            (2, &[("Unknown", 500)]),
            (3, &[("Unknown", 0)]),
        ],
    );
    assert_snapshot!(text, @r"
    0 Unknown INSUFFICIENT_DATA → OK (> 100 in 0 of 1 windows, the latest 100)
    1 Unknown OK → ALARM (142 > 100 in 1 of 1 windows)
    3 Unknown ALARM → OK (> 100 in 0 of 1 windows, the latest 0)
    ");
    assert_eq!(alarm.states().collect::<Vec<_>>(), [("Unknown", State::Ok)]);
}

#[test]
fn a_star_watches_each_application_by_itself_from_when_it_is_first_seen() {
    let mut alarm = alarm("* < 5 for 2 of 3", Missing::Breaching);
    let text = fed(
        &mut alarm,
        &[
            (0, &[("A", 9)]),
            (1, &[("A", 9), ("B", 1)]),
            (2, &[("A", 9), ("B", 2)]),
            (3, &[("B", 9)]),
            (4, &[("B", 9)]),
        ],
    );
    assert_snapshot!(text, @r"
    0 A INSUFFICIENT_DATA → OK (< 5 in 0 of 3 windows, the latest 9)
    1 B INSUFFICIENT_DATA → OK (1 < 5 in 1 of 3 windows)
    2 B OK → ALARM (2 < 5 in 2 of 3 windows)
    4 B ALARM → OK (< 5 in 1 of 3 windows, the latest 9)
    ");
    // Two real datapoints of B are in reach longer than those of A.
    let later = fed(&mut alarm, &[(5, &[]), (9, &[])]);
    assert_snapshot!(later, @r"
    6 A OK → ALARM (< 5 in 2 of 3 windows (2 of them without data), the latest without data)
    8 B OK → ALARM (< 5 in 2 of 3 windows (2 of them without data), the latest without data)
    ");
}

#[test]
fn a_gap_of_years_is_missing_data_and_bounded_work() {
    let mut alarm = alarm("Unknown > 100", Missing::Missing);
    let text = fed(&mut alarm, &[(0, &[("Unknown", 142)]), (1_000_000_000, &[("Unknown", 1)])]);
    assert_snapshot!(text, @r"
    0 Unknown INSUFFICIENT_DATA → ALARM (142 > 100 in 1 of 1 windows)
    3 Unknown ALARM → INSUFFICIENT_DATA (> 100 in 0 of 1 windows, the latest without data)
    1000000000 Unknown INSUFFICIENT_DATA → OK (> 100 in 0 of 1 windows, the latest 1)
    ");
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let mut alarm = alarm("Unknown > 100 for 3 of 100", Missing::Breaching);
    for window in [Timestamp::MIN, at(0), Timestamp::MAX, Timestamp::MAX] {
        alarm.observe(window, &sums(&[("Unknown", u64::MAX)]));
    }
    assert_eq!(alarm.out_of_order(), 1);
}

#[test]
fn a_window_that_comes_late_or_twice_is_counted_and_passed_over() {
    let mut alarm = alarm("Unknown > 100", Missing::default());
    fed(&mut alarm, &[(5, &[("Unknown", 0)])]);
    assert_eq!(fed(&mut alarm, &[(5, &[("Unknown", 500)]), (4, &[("Unknown", 500)])]), "");
    assert_eq!(alarm.out_of_order(), 2);
    assert_eq!(alarm.last_window(), Some(at(5)));
}

#[test]
fn past_the_bound_applications_are_counted_and_not_judged() {
    let mut alarm = alarm("* > 0", Missing::default());
    let many = (0..MAX_APPLICATIONS + 7).map(|number| (format!("{number:06}"), 1)).collect();
    assert_eq!(alarm.observe(at(0), &many).len(), MAX_APPLICATIONS);
    assert_eq!(alarm.unwatched(), 7);
    alarm.observe(at(1), &many);
    assert_eq!(alarm.unwatched(), 14);
}

#[test]
fn what_is_stored_goes_on_where_it_stopped() {
    let mut one = alarm("* > 5 for 2 of 3", Missing::Ignore);
    one.observe(at(0), &sums(&[("A", 9), ("B", 1)]));
    let stored = postcard::to_allocvec(&one).unwrap();
    let mut other: Alarm = postcard::from_bytes(&stored).unwrap();
    assert_eq!(other, one);
    let next = sums(&[("A", 9)]);
    let transitions = other.observe(at(1), &next);
    assert_eq!(transitions, one.observe(at(1), &next));
    assert_eq!(told(&transitions), "1 A INSUFFICIENT_DATA → ALARM (9 > 5 in 2 of 3 windows)");
    assert!(other.is_of(one.rule(), Missing::Ignore, WindowSize::FIVE_MINUTES));
    assert!(!other.is_of(one.rule(), Missing::Missing, WindowSize::FIVE_MINUTES));
}

#[test]
fn a_back_test_tells_when_for_how_long_and_how_high() {
    let mut test = Backtest::new(alarm("* > 100", Missing::default()));
    for (window, values) in [
        (0, sums(&[("A", 142), ("B", 1)])),
        (1, sums(&[("A", 500), ("B", 1)])),
        (2, sums(&[("A", 100), ("B", 101)])),
        (10, sums(&[("A", 7), ("B", 7), ("C", 200)])),
        (11, sums(&[("C", 300)])),
    ] {
        test.observe(at(window), &values);
    }
    let report = test.finish();
    let lines = report.episodes.iter().map(|episode| {
        let window = |time: Timestamp| time.as_millis() / SIZE;
        format!(
            "{} {}-{:?} {} windows, peak {:?}: {}",
            episode.application,
            window(episode.from),
            episode.until.map(window),
            episode.windows,
            episode.peak,
            episode.reason
        )
    });
    assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r"
    A 0-Some(2) 2 windows, peak Some(500): 142 > 100 in 1 of 1 windows
    B 2-Some(5) 3 windows, peak Some(101): 101 > 100 in 1 of 1 windows
    C 10-None 2 windows, peak Some(300): 200 > 100 in 1 of 1 windows
    ");
    assert_eq!(report.further, 0);
}

#[test]
fn a_back_test_keeps_the_first_episodes_and_counts_the_rest() {
    let mut test = Backtest::new(alarm("A < 5", Missing::default()));
    let windows = i64::try_from(MAX_EPISODES).unwrap() * 2 + 20;
    for window in 0..windows {
        test.observe(at(window), &sums(&[("A", u64::from(window % 2 == 0) * 9)]));
    }
    let report = test.finish();
    assert_eq!(report.episodes.len(), MAX_EPISODES);
    assert_eq!(report.further, 10);
    assert_eq!(report.episodes[0].peak, Some(0));
}

/// The state after `history` (oldest first), recomputed from all of it: the guide's three cases, one by one.
fn model(rule: &Rule, missing: Missing, history: &[Option<u64>]) -> State {
    let mut state = State::InsufficientData;
    for end in 1..=history.len() {
        let range = &history[end.saturating_sub(rule.windows() + 2)..end];
        let mut judged: Vec<bool> = range.iter().flatten().map(|&value| rule.breaches(value)).collect();
        let breaches = |judged: &[bool]| judged.iter().filter(|breaching| **breaching).count();
        if judged.len() >= rule.windows() {
            let latest = &judged[judged.len() - rule.windows()..];
            state = if breaches(latest) >= rule.needed() { State::Alarm } else { State::Ok };
            continue;
        }
        let holes = range.iter().filter(|value| value.is_none()).count();
        if missing == Missing::Breaching {
            judged.extend(vec![true; holes.min(rule.windows() - judged.len())]);
        } else if missing == Missing::NotBreaching {
            judged.extend(vec![false; holes.min(rule.windows() - judged.len())]);
        }
        let filled = matches!(missing, Missing::Breaching | Missing::NotBreaching);
        let oldest = range.iter().position(|value| value.is_some_and(|value| rule.breaches(value)));
        state = if breaches(&judged) >= rule.needed() {
            State::Alarm
        } else if filled || judged.contains(&false) {
            State::Ok
        } else if missing == Missing::Ignore {
            state
        } else if oldest.is_some_and(|oldest| range.len() - oldest >= rule.needed()) {
            State::Alarm
        } else {
            State::InsufficientData
        };
    }
    state
}

fn any_windows() -> impl Strategy<Value = Vec<(i64, Option<u64>)>> {
    let step = prop_oneof![8 => Just(1_i64), 2 => 2_i64..9];
    prop::collection::vec((step, prop::option::weighted(0.7, 0_u64..20)), 1..40)
}

fn any_missing() -> impl Strategy<Value = Missing> {
    prop::sample::select(vec![Missing::NotBreaching, Missing::Breaching, Missing::Ignore, Missing::Missing])
}

proptest! {
    #[test]
    fn a_bounded_history_decides_as_the_whole_history_does(
        windows in any_windows(),
        missing in any_missing(),
        (one, other) in (1_u8..7, 1_u8..7),
        star: bool,
    ) {
        let target = if star { "*" } else { "A" };
        let rule: Rule = format!("{target} > 9 for {} of {}", one.min(other), one.max(other)).parse().unwrap();
        let mut alarm = Alarm::new("test".to_owned(), rule.clone(), missing, WindowSize::FIVE_MINUTES);
        let (mut history, mut window, mut state) = (Vec::new(), 0, State::InsufficientData);
        for (number, (step, value)) in windows.into_iter().enumerate() {
            let known = !history.is_empty() || (!star && number > 0);
            let mut expected = Vec::new();
            let skipped = if known { step - 1 } else { 0 };
            let points = (0..skipped).map(|_| None).chain([value]);
            for (gap, point) in points.enumerate() {
                if star && history.is_empty() && point.is_none() {
                    continue;
                }
                history.push(point);
                let now = model(&rule, missing, &history);
                if now != state {
                    expected.push((window + step - skipped + i64::try_from(gap).unwrap(), state, now, point));
                    state = now;
                }
            }
            window += step;
            let values = value.map(|value| ("A".to_owned(), value)).into_iter().collect();
            let found: Vec<_> = alarm
                .observe(at(window), &values)
                .into_iter()
                .map(|change| (change.window_start.as_millis() / SIZE, change.from, change.to, change.value))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
