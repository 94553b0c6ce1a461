//! One call of `PutMetricData`, made once, and what is known afterwards. Claims and retries nothing.

use std::error::Error;

use aws_sdk_cloudwatch::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::DateTime,
    types::{Dimension, Metric, MetricDatum, StandardUnit},
};

use crate::backend::{
    BackendError, Datum, Series,
    aws::{call, error, names},
};

/// What is known after a call.
#[derive(Debug)]
pub(super) enum Outcome {
    /// CloudWatch said that it has the datums.
    Added,
    /// It certainly has none of them.
    NotAdded(BackendError),
    /// It certainly has none of them, and never will: why.
    Refused(String),
    /// Nobody knows: why.
    Unknown(String),
}

/// Codes of "these datums are wrong" (`PutMetricData`, and what the protocol itself says).
const WRONG: [&str; 7] = [
    "InvalidParameterCombination",
    "InvalidParameterCombinationException",
    "InvalidParameterValue",
    "InvalidParameterValueException",
    "MissingParameter",
    "MissingRequiredParameterException",
    "ValidationError",
];
/// Codes of "too many calls", whatever their status.
const THROTTLED: [&str; 5] = [
    "LimitExceeded",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Sends `datums` by a client that does not retry.
pub(super) async fn put(
    once: &aws_sdk_cloudwatch::Client,
    namespace: &str,
    datums: impl Iterator<Item = &Datum>,
) -> Outcome {
    let datums = datums.map(metric_datum).collect();
    let request = once.put_metric_data().namespace(namespace).set_metric_data(Some(datums));
    match request.send().await {
        Ok(_) => Outcome::Added,
        Err(error) => outcome(error, namespace),
    }
}

fn metric_datum(datum: &Datum) -> MetricDatum {
    let Series { name, dimensions } = names::valid(&datum.series);
    MetricDatum::builder()
        .metric_name(name)
        .set_dimensions(Some(dimensions.into_iter().map(dimension).collect()))
        .timestamp(DateTime::from_millis(datum.timestamp.as_millis()))
        .value(datum.value)
        .unit(StandardUnit::from(call::unit(&datum.series.name)))
        .storage_resolution(call::RESOLUTION.cast_signed())
        .build()
}

/// The metric of a series with CloudWatch's names, for reading it back.
pub(super) fn metric(namespace: &str, valid: &Series) -> Metric {
    let dimensions = valid.dimensions.iter().cloned().map(dimension).collect();
    Metric::builder().namespace(namespace).metric_name(&valid.name).set_dimensions(Some(dimensions)).build()
}

fn dimension((name, value): (String, String)) -> Dimension {
    Dimension::builder().name(name).value(value).build()
}

fn outcome<E>(error: SdkError<E, HttpResponse>, namespace: &str) -> Outcome
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let code = error.code().unwrap_or_default();
    let is = |codes: &[&str]| codes.contains(&code);
    let status = error.raw_response().map(|response| response.status().as_u16());
    match status {
        _ if is(&THROTTLED) => Outcome::NotAdded(fault(error, namespace)),
        // 413 is what a front door says to a body that is too long.
        Some(400..500) if is(&WRONG) || status == Some(413) => Outcome::Refused(text(&error)),
        // 408 says that the server gave up waiting, not what it had taken by then.
        Some(400..408 | 409..500) => Outcome::NotAdded(fault(error, namespace)),
        None if never_sent(&error) => Outcome::NotAdded(fault(error, namespace)),
        _ => Outcome::Unknown(text(&error)),
    }
}

fn fault<E>(error: SdkError<E, HttpResponse>, namespace: &str) -> BackendError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    error::Call { action: "cloudwatch:PutMetricData", kind: "namespace", name: namespace }.fault(error)
}

/// Whether the request cannot have left: it was not built, not signed for want of credentials, or no connection was
/// made for it. A time limit on the whole attempt says nothing of the kind.
fn never_sent<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> bool {
    if matches!(error, SdkError::ConstructionFailure(_)) {
        return true;
    }
    let is = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<aws_credential_types::provider::error::CredentialsError>().is_some()
            || cause
                .downcast_ref::<hyper_util::client::legacy::Error>()
                .is_some_and(hyper_util::client::legacy::Error::is_connect)
    };
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |cause| (*cause).source()).any(is)
}

fn text<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E, HttpResponse>) -> String {
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (status, error.code()) {
        (Some(status), Some(code)) => format!("{status} {code}: {}", error.message().unwrap_or_default()),
        (Some(status), None) => format!("status {status}"),
        (None, _) => error::reason(error),
    }
}
