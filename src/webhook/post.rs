//! One HTTP request and what its answer means. Retries nothing.

use std::{fmt, sync::Arc, time::Duration};

use ureq::{Agent, Proxy};

use crate::webhook::url::WebhookUrl;

/// What one attempt came to; the texts hold nothing secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Delivered.
    Taken,
    /// The receiver does not want it, and would not want it later.
    Refused(String),
    /// May succeed later.
    Failed(String),
}

/// A client for one webhook.
///
/// Certificates are checked against Mozilla's roots, which are compiled in, so that a bare machine needs none. The
/// proxy variables that `curl` knows (`HTTPS_PROXY`, `NO_PROXY`, …) are obeyed except for loopback addresses.
pub(super) struct Poster {
    agent: Agent,
    url: WebhookUrl,
}

impl Poster {
    pub(super) fn new(url: WebhookUrl, timeout: Duration) -> Self {
        let proxy = if url.is_loopback() { None } else { Proxy::try_from_env() };
        let agent = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            // A redirected POST would become a GET, or carry its body to a host that nobody configured.
            .max_redirects(0)
            .proxy(proxy)
            .user_agent(concat!("logtally/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self { agent, url }
    }

    pub(super) async fn post(&self, body: Arc<Vec<u8>>) -> Answer {
        let (agent, uri) = (self.agent.clone(), self.url.uri().clone());
        let attempt = tokio::task::spawn_blocking(move || {
            let request = agent.post(uri).header("content-type", "application/json");
            request.send(body.as_slice()).map(|response| response.status().as_u16())
        });
        match attempt.await {
            Ok(Ok(status)) => answer(status),
            Ok(Err(error)) => Answer::Failed(safe(&error)),
            Err(_) => Answer::Failed("the attempt was aborted".to_owned()),
        }
    }
}

impl fmt::Display for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Poster({:?})", self.url)
    }
}

fn answer(status: u16) -> Answer {
    match status {
        200..=299 => Answer::Taken,
        429 | 500..=599 => Answer::Failed(format!("answered {status}")),
        300..=399 => Answer::Refused(format!("answered {status}; redirects are not followed")),
        _ => Answer::Refused(format!("answered {status}")),
    }
}

/// The error in words that cannot hold the URL: some of ureq's errors repeat it.
fn safe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => format!("i/o: {error}"),
        ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Tls(_)
        | ureq::Error::Rustls(_) => error.to_string(),
        _ => "the request failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_retried() {
        for status in [200, 201, 204, 299] {
            assert_eq!(answer(status), Answer::Taken);
        }
        for status in [429, 500, 502, 503, 504, 599] {
            assert!(matches!(answer(status), Answer::Failed(_)), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 408, 410, 600] {
            assert!(matches!(answer(status), Answer::Refused(_)), "{status}");
        }
    }

    #[test]
    fn errors_that_repeat_the_url_are_not_repeated() {
        let error = ureq::Error::BadUri("https://hooks.example.com/s3cret".to_owned());
        assert_eq!(safe(&error), "the request failed");
    }
}
