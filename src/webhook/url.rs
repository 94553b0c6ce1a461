//! The address of a webhook, which nobody gets to see: whoever knows it can post. Connects to nothing.

use std::{fmt, str::FromStr};

use serde::Deserialize;
use ureq::http::Uri;

/// An `http://` or `https://` URL. In text only its scheme, host and port appear: path and query hold the secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WebhookUrl(Uri);

/// The text is no webhook's URL. Does not hold the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the webhook's URL (a secret, so not shown) must start with http:// or https:// and name a host, \
     as in https://hooks.example.com/T0/secret"
)]
pub struct WebhookUrlError;

impl WebhookUrl {
    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether the receiver is this machine: no proxy can reach it for us.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.0.host().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }
}

impl FromStr for WebhookUrl {
    type Err = WebhookUrlError;

    fn from_str(text: &str) -> Result<Self, WebhookUrlError> {
        let uri: Uri = text.parse().map_err(|_| WebhookUrlError)?;
        let speaks_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        if speaks_http && has_host { Ok(Self(uri)) } else { Err(WebhookUrlError) }
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = WebhookUrlError;

    fn try_from(text: String) -> Result<Self, WebhookUrlError> {
        text.parse()
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}", self.0.host().unwrap_or_default())?;
        match self.0.port_u16() {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_and_port_are_shown() {
        for (url, shown) in [
            ("https://hooks.example.com/T0/s3cret?key=s3cret", "https://hooks.example.com"),
            ("http://user:s3cret@[::1]:8080/s3cret", "http://[::1]:8080"),
            ("HTTPS://Hooks.example.com/s3cret", "https://Hooks.example.com"),
        ] {
            let url: WebhookUrl = url.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown}/…"));
        }
    }

    #[test]
    fn what_is_no_url_is_refused_and_not_repeated() {
        for text in
            ["", "s3cret", "ftp://s3cret/", "https://", "/s3cret", "https:///s3cret", "https://s3 cret/"]
        {
            let error = text.parse::<WebhookUrl>().expect_err(text);
            assert!(!error.to_string().contains("s3"));
        }
    }

    #[test]
    fn loopback_is_recognised() {
        for (url, loopback) in [
            ("http://127.0.0.1:1/", true),
            ("http://[::1]/", true),
            ("http://localhost/", true),
            ("http://localhost.example.com/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(url.parse::<WebhookUrl>().unwrap().is_loopback(), loopback, "{url}");
        }
    }
}
