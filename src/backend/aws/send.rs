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

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::TcpListener,
        thread::{self, JoinHandle},
    };

    use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
    use aws_credential_types::{
        Credentials,
        credential_fn::provide_credentials_fn,
        provider::{SharedCredentialsProvider, error::CredentialsError},
    };

    use super::*;
    use crate::engine::time::Timestamp;

    fn known() -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test"))
    }

    async fn sent_to(endpoint: &str, credentials: SharedCredentialsProvider) -> String {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(RetryConfig::disabled())
            .credentials_provider(credentials)
            .build();
        let series = Series { name: "RequestCount".to_owned(), dimensions: Vec::new() };
        let datum = Datum { series, timestamp: Timestamp::from_millis(0), value: 1.0 };
        let client = aws_sdk_cloudwatch::Client::new(&config);
        match put(&client, "Logtally", std::iter::once(&datum)).await {
            Outcome::Added => "added".to_owned(),
            Outcome::NotAdded(BackendError::Busy { .. }) => "not added: busy".to_owned(),
            Outcome::NotAdded(BackendError::Refused { .. }) => "not added: refused".to_owned(),
            Outcome::NotAdded(error) => format!("not added: {error:?}"),
            Outcome::Refused(why) => format!("refused: {why}"),
            Outcome::Unknown(why) => format!("unknown: {why}"),
        }
    }

    /// Answers one request with these bytes, then hangs up.
    fn answering(answer: Vec<u8>) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            stream.write_all(&answer).unwrap();
        });
        (endpoint, server)
    }

    /// An error as RPC v2 CBOR has it: a map of `__type` to a text of less than 256 bytes.
    fn error(status: u16, code: &str) -> Vec<u8> {
        let body =
            [b"\xa1\x66__type\x78", &[u8::try_from(code.len()).unwrap()][..], code.as_bytes()].concat();
        let head = format!(
            "HTTP/1.1 {status} Error\r\nsmithy-protocol: rpc-v2-cbor\r\ncontent-type: application/cbor\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    }

    #[tokio::test]
    async fn an_answer_says_what_it_says_and_no_more() {
        let plain = |head: &str| format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n").into_bytes();
        for (answer, outcome) in [
            (error(400, "InvalidParameterValue"), "refused: 400 InvalidParameterValue: "),
            (plain("413 Too Large"), "refused: status 413"),
            (error(400, "Throttling"), "not added: busy"),
            (error(503, "ThrottlingException"), "not added: busy"),
            (error(403, "AccessDenied"), "not added: refused"),
            (error(403, "ExpiredToken"), "not added: refused"),
            (error(500, "InternalServiceError"), "unknown: 500 InternalServiceError: "),
            (plain("502 Bad Gateway"), "unknown: status 502"),
            (plain("408 Request Timeout"), "unknown: status 408"),
            (b"HTTP/1.1 200 OK\r\ncontent-le".to_vec(), "unknown: "),
            (Vec::new(), "unknown: "),
        ] {
            let text = String::from_utf8_lossy(&answer).into_owned();
            let (endpoint, server) = answering(answer);
            let sent = sent_to(&endpoint, known()).await;
            assert!(sent.starts_with(outcome), "{sent} instead of {outcome} after {text}");
            server.join().unwrap();
        }
    }

    #[tokio::test]
    async fn what_never_left_was_not_added() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(sent_to(&format!("http://{unused}"), known()).await, "not added: busy");
        assert_eq!(sent_to("http://nowhere.invalid", known()).await, "not added: busy");
        let none = provide_credentials_fn(|| async { Err(CredentialsError::not_loaded("there are none")) });
        let none = SharedCredentialsProvider::new(none);
        assert_eq!(sent_to(&format!("http://{unused}"), none).await, "not added: refused");
    }
}
