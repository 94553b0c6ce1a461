//! What the services refuse, as errors of the ports. Retries nothing.

use std::{error::Error, fmt};

use aws_sdk_kinesis::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use crate::backend::BackendError;

/// Codes of "not now" of all services that are used, from their models.
const BUSY: [&str; 13] = [
    "InternalFailure",
    "InternalServerError",
    "KMSThrottlingException",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];
/// Codes of "you may not".
const DENIED: [&str; 6] = [
    "AccessDenied",
    "AccessDeniedException",
    "KMSAccessDeniedException",
    "NotAuthorized",
    "OptInRequired",
    "UnauthorizedOperation",
];
/// Codes of "we do not know you".
const UNKNOWN_CALLER: [&str; 8] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];
/// Codes of "there is none".
const MISSING: [&str; 3] = ["NoSuchBucket", "ResourceNotFoundException", "ResourceNotFound"];

/// How the SDK begins to say that an endpoint is none; it goes on with the endpoint and the request.
const BAD_ENDPOINT: &str = "failed to apply endpoint";
/// What is said instead.
const BAD_ENDPOINT_SAID: &str =
    "the endpoint is no address (not shown: it may hold a password); mend AWS_ENDPOINT_URL, or unset it";

/// A call, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// The permission that it takes: `kinesis:PutRecords`.
    pub(super) action: &'static str,
    /// The kind of thing: `stream`.
    pub(super) kind: &'static str,
    /// Its name.
    pub(super) name: &'a str,
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} {}", self.action, self.kind, self.name)
    }
}

impl Call<'_> {
    /// The error that `error` means to a caller of the ports. It is no source of it: its texts are chosen here.
    #[expect(clippy::needless_pass_by_value, reason = "no caller has a further use for it")]
    pub(super) fn fault<E>(self, error: SdkError<E, HttpResponse>) -> BackendError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let code = error.code().unwrap_or_default().to_owned();
        let detail = error.message().map_or_else(|| reason(&error), str::to_owned);
        let refused = |what: String| BackendError::Refused { what, source: None };
        let is = |codes: &[&str]| codes.contains(&code.as_str());
        if is(&BUSY) {
            return BackendError::Busy { why: format!("{self}: {code}: {detail}") };
        }
        if is(&DENIED) {
            let action = self.action;
            return refused(format!("{self}: not permitted: allow {action} in the role's policy ({detail})"));
        }
        if is(&UNKNOWN_CALLER) || is_about_credentials(&error) {
            return refused(format!(
                "{self}: no valid AWS credentials: set AWS_PROFILE, log in, or give the machine a role ({detail})"
            ));
        }
        if is(&MISSING) {
            let Self { kind, name, .. } = self;
            return refused(format!(
                "{kind} {name} does not exist: create it (infra/deploy.sh does), or name another in [aws]"
            ));
        }
        match &error {
            SdkError::ConstructionFailure(_) => {
                BackendError::Failed { what: format!("{self}: {detail}"), source: None }
            }
            SdkError::ServiceError(service) if service.raw().status().as_u16() < 500 => {
                BackendError::Failed { what: format!("{self}: {code}: {detail}"), source: None }
            }
            _ => BackendError::Busy { why: format!("{self}: {detail}") },
        }
    }
}

/// Why there was no answer: the innermost causes say it best.
pub(super) fn reason(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).filter(|text| !text.is_empty()).collect();
    texts.dedup();
    let reason = if texts.is_empty() { error.to_string() } else { texts.join(": ") };
    if reason.contains(BAD_ENDPOINT) { BAD_ENDPOINT_SAID.to_owned() } else { reason }
}

fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    let is = |cause: &&(dyn Error + 'static)| {
        cause.downcast_ref::<aws_credential_types::provider::error::CredentialsError>().is_some()
    };
    std::iter::successors(Some(error), |cause| (*cause).source()).any(|cause| is(&cause))
}
