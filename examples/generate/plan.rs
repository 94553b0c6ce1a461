//! When lines come: more by day than by night. Writes none.

/// How busy each hour of the day (UTC) is.
const HOURS: [u64; 24] =
    [30, 24, 20, 18, 18, 22, 34, 52, 74, 90, 98, 100, 94, 96, 98, 94, 86, 78, 70, 64, 58, 50, 42, 36];

const MINUTE_MS: i64 = 60_000;
const WINDOW_MINUTES: u64 = 5;

/// One minute: where it starts, how many lines it has, and how many of them are of hosts seen only once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Minute {
    pub(crate) start: i64,
    pub(crate) lines: u64,
    pub(crate) strangers: u64,
}

/// Spreads `lines` over `minutes` from `start`; `strangers` of them lie in one five-minute window in the middle.
pub(crate) fn plan(start: i64, minutes: u64, lines: u64, strangers: u64) -> Vec<Minute> {
    let first = start.div_euclid(MINUTE_MS);
    let at = |minute: u64| first + i64::try_from(minute).unwrap_or(i64::MAX);
    let weights: Vec<u64> = (0..minutes).map(|minute| weight(at(minute))).collect();
    let total: u64 = weights.iter().sum();
    let usual = u128::from(lines - strangers);
    // Whole lines up to each minute's end, so that the sum is exact.
    let (mut passed, mut done) = (0_u64, 0_u64);
    let mut plan: Vec<Minute> = Vec::with_capacity(weights.len());
    for (minute, weight) in (0..).zip(weights) {
        passed += weight;
        let due = u64::try_from(usual * u128::from(passed) / u128::from(total)).unwrap_or(u64::MAX);
        plan.push(Minute { start: at(minute) * MINUTE_MS, lines: due - done, strangers: 0 });
        done = due;
    }
    let window = plan.iter().position(|minute| {
        minute.start >= at(minutes / 2) * MINUTE_MS && minute.start % (5 * MINUTE_MS) == 0
    });
    let middle = plan.iter_mut().skip(window.unwrap_or(0)).take(5);
    for (number, minute) in (0..WINDOW_MINUTES).zip(middle) {
        minute.strangers = strangers * (number + 1) / WINDOW_MINUTES - strangers * number / WINDOW_MINUTES;
        minute.lines += minute.strangers;
    }
    plan
}

/// Between the hours' weights, in a straight line.
fn weight(minute: i64) -> u64 {
    let minute_of_day = usize::try_from(minute.rem_euclid(24 * 60)).unwrap_or(0);
    let (hour, past) = (minute_of_day / 60, minute_of_day as u64 % 60);
    HOURS[hour] * (60 - past) + HOURS[(hour + 1) % 24] * past
}
