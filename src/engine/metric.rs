//! Metrics: which series a row adds to, and by how much. Publishes nothing.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::engine::{
    row::{Health, Output},
    time::Timestamp,
};

/// Requests of one application, `{ApplicationName}`.
pub const REQUEST_COUNT: &str = "RequestCount";
/// Requests of one application by class of response, `{ApplicationName, StatusClass}`.
pub const RESPONSE_COUNT: &str = "ResponseCount";
/// Lines that could not be parsed, stamped with the arrival window.
pub const MALFORMED_LINES: &str = "MalformedLines";
/// Lines counted after their window was published.
pub const LATE_LINES: &str = "LateLines";
/// Lines that a producer sent twice and that were counted once.
pub const DUPLICATE_LINES: &str = "DuplicateLines";
/// Largest distance between arrival and reading, in seconds.
pub const LAG_SECONDS: &str = "LagSeconds";
/// The share of the hash space whose window closed on time: a sum under 0.999 is a broken pipeline.
pub const HEARTBEAT: &str = "Heartbeat";
/// Producers that neither said they are alive nor goodbye.
pub const SILENT_PRODUCERS: &str = "SilentProducers";

/// Parcels of which nobody knows whether they were added, stamped with the window in which that came about.
pub const IN_DOUBT: &str = "InDoubt";

/// The metrics that rows add to.
pub const OF_ROWS: [&str; 8] = [
    REQUEST_COUNT,
    RESPONSE_COUNT,
    MALFORMED_LINES,
    LATE_LINES,
    DUPLICATE_LINES,
    LAG_SECONDS,
    HEARTBEAT,
    SILENT_PRODUCERS,
];

/// A metric: its name and its dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Series {
    /// [`REQUEST_COUNT`] and its like.
    pub name: String,
    /// Name and value, in the order of the design.
    pub dimensions: Vec<(String, String)>,
}

/// One value of one series. Values of the same series and timestamp add up.
#[derive(Clone, Debug, PartialEq)]
pub struct Datum {
    /// The series.
    pub series: Series,
    /// Start of the window, as a rule.
    pub timestamp: Timestamp,
    /// Added to the sum.
    pub value: f64,
}

/// What lines of the output stream add to the metrics: one datum a series and timestamp, in that order.
#[must_use]
pub fn datums(outputs: &[Output]) -> Vec<Datum> {
    let mut requests: HashMap<_, u64, FixedState> = HashMap::default();
    let mut responses: HashMap<_, u64, FixedState> = HashMap::default();
    let mut books: HashMap<_, f64, FixedState> = HashMap::default();
    // Anybody may have written the row.
    let add = |sum: &mut u64, count| *sum = sum.saturating_add(count);
    for output in outputs {
        match output {
            Output::Row(row) => {
                let (application, start, count) =
                    (row.application_name.as_str(), row.window_start, row.response_count);
                add(requests.entry((application, start)).or_default(), count);
                if count > 0 {
                    add(responses.entry((application, start, class(row.response))).or_default(), count);
                }
            }
            Output::Health(tagged) => {
                for (name, value) in of_health(&tagged.row) {
                    *books.entry((name, tagged.row.window_start)).or_default() += value;
                }
            }
        }
    }
    let name = |application: &str| ("ApplicationName".to_owned(), application.to_owned());
    let mut datums = Vec::with_capacity(requests.len() + responses.len() + books.len());
    for ((application, start), count) in requests {
        datums.push(datum(REQUEST_COUNT, vec![name(application)], start, float(count)));
    }
    for ((application, start, class), count) in responses {
        let class = ("StatusClass".to_owned(), class_name(class));
        datums.push(datum(RESPONSE_COUNT, vec![name(application), class], start, float(count)));
    }
    for ((metric, start), value) in books {
        datums.push(datum(metric, Vec::new(), start, value));
    }
    datums.sort_unstable_by(|a, b| (&a.series, a.timestamp).cmp(&(&b.series, b.timestamp)));
    datums
}

/// `2xx`, or `none` where the log has `-`.
#[must_use]
pub fn status_class(response: Option<u16>) -> String {
    class_name(class(response))
}

/// The first digit of the status, if there is one.
fn class(response: Option<u16>) -> Option<u16> {
    response.map(|status| status / 100)
}

fn class_name(class: Option<u16>) -> String {
    class.map_or_else(|| "none".to_owned(), |class| format!("{class}xx"))
}

fn of_health(health: &Health) -> [(&'static str, f64); 6] {
    let counters = &health.counters;
    let heartbeat = if health.on_time { health.share } else { 0 };
    [
        (MALFORMED_LINES, float(counters.malformed_lines())),
        (LATE_LINES, float(counters.late)),
        (DUPLICATE_LINES, float(counters.duplicate)),
        (LAG_SECONDS, float(health.lag_ms) / 1_000.0),
        (HEARTBEAT, float(heartbeat) / 1e9),
        (SILENT_PRODUCERS, float(health.silent_producers)),
    ]
}

fn datum(name: &str, dimensions: Vec<(String, String)>, timestamp: Timestamp, value: f64) -> Datum {
    Datum { series: Series { name: name.to_owned(), dimensions }, timestamp, value }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating point; exact up to 2^53 requests a window"
)]
fn float(count: u64) -> f64 {
    count as f64
}

/// The application whose requests a series counts; `None` if it counts something else.
#[must_use]
pub fn application(series: &Series) -> Option<&str> {
    let of_requests = (series.name == REQUEST_COUNT).then_some(&series.dimensions);
    of_requests.map(|dimensions| dimensions.first().map_or("", |(_, value)| value.as_str()))
}

/// A sum of counts as the whole number it is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sums of counts are whole and not negative"
)]
#[must_use]
pub fn count(sum: f64) -> u64 {
    sum.round() as u64
}

/// Whether two sums are the same but for the order in which they were added up.
#[must_use]
pub fn equal(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 + 1e-12 * one.abs().max(other.abs())
}
