//! Counts per application from the metrics. Counts nothing itself.

use std::collections::BTreeMap;

use crate::{
    backend::{Backend, Datum, Result},
    engine::{
        metric::{REQUEST_COUNT, RESPONSE_COUNT, count},
        time::Timestamp,
    },
};

/// What one application's requests came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// Requests.
    pub requests: u64,
    /// Of those, answered with a status of 400 and above.
    pub errors: u64,
}

/// Requests and errors by application, over the windows that start in `from..to`.
///
/// # Errors
/// What the metrics fail with.
pub async fn counts(
    backend: &impl Backend,
    (from, to): (Timestamp, Timestamp),
    application: Option<&str>,
) -> Result<BTreeMap<String, Count>> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for datum in backend.read_metrics(REQUEST_COUNT, from, to).await? {
        if let Some(name) = dimension(&datum, 0).filter(|_| is_of(&datum, application)) {
            counts.entry(name.to_owned()).or_default().requests += count(datum.value);
        }
    }
    for datum in backend.read_metrics(RESPONSE_COUNT, from, to).await? {
        let is_error = dimension(&datum, 1).is_some_and(|class| class.starts_with(['4', '5']));
        if let Some(name) = dimension(&datum, 0).filter(|_| is_error && is_of(&datum, application)) {
            counts.entry(name.to_owned()).or_default().errors += count(datum.value);
        }
    }
    Ok(counts)
}

/// Whether a sum is one of `application`, or of any if none is named.
pub(crate) fn is_of(datum: &Datum, application: Option<&str>) -> bool {
    application.is_none_or(|wanted| dimension(datum, 0) == Some(wanted))
}

fn dimension(datum: &Datum, index: usize) -> Option<&str> {
    datum.series.dimensions.get(index).map(|(_, value)| value.as_str())
}
