//! How an agent gets at AWS: keys, role, endpoints. Connects to nothing.

use std::fmt;

use serde_json::Value;

use super::{
    document::Document,
    finding::{Finding, Verdict},
};

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// The text itself. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(…)")
    }
}

/// What the file says of the way to AWS; what it leaves out comes from where AWS tools look for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// `awsAccessKeyId` and `awsSecretAccessKey`.
    pub credentials: Option<(Hidden, Hidden)>,
    /// `assumeRoleARN`: the role to take with these credentials.
    pub role: Option<String>,
    /// `assumeRoleExternalId`
    pub external_id: Option<String>,
    /// `kinesis.endpoint`, with its scheme.
    pub kinesis_endpoint: Option<String>,
    /// `sts.endpoint`, with its scheme.
    pub sts_endpoint: Option<String>,
    /// `kinesis.region`, else that of an endpoint of AWS.
    pub region: Option<String>,
}

impl Access {
    pub(super) fn of(document: &Document, findings: &mut Vec<Finding>) -> Self {
        let mut text = |key: &str| match document.entries.get(key) {
            None | Some(Value::Null) => None,
            // The release's own file has empty endpoints.
            Some(Value::String(text)) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Some(_) => {
                findings.push(Finding::new(document.place(), key, Verdict::Invalid, "it is no text"));
                None
            }
        };
        let (id, secret) = (text("awsAccessKeyId"), text("awsSecretAccessKey"));
        let half = id.is_some() != secret.is_some();
        let kinesis_endpoint = text("kinesis.endpoint").map(with_scheme);
        let region = text("kinesis.region").or_else(|| kinesis_endpoint.as_deref().and_then(region_of));
        let access = Self {
            credentials: id.zip(secret).map(|(id, secret)| (Hidden(id), Hidden(secret))),
            role: text("assumeRoleARN"),
            external_id: text("assumeRoleExternalId"),
            sts_endpoint: text("sts.endpoint").map(with_scheme),
            kinesis_endpoint,
            region,
        };
        if half {
            let note = "awsAccessKeyId and awsSecretAccessKey go together: one of them is missing";
            findings.push(Finding::new(document.place(), "awsAccessKeyId", Verdict::Invalid, note));
        }
        access
    }
}

/// An endpoint as it may be printed: without user, password and query.
pub(super) fn shown(endpoint: &str) -> String {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let place = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = place.split_once('/').map_or((place, None), |(first, path)| (first, Some(path)));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = path.map(|path| format!("/{path}")).unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// An endpoint without a scheme is one of HTTPS.
fn with_scheme(endpoint: String) -> String {
    if endpoint.contains("://") { endpoint } else { format!("https://{endpoint}") }
}

/// The region of an endpoint such as `https://kinesis.eu-west-1.amazonaws.com`, also one within a network of its own.
fn region_of(endpoint: &str) -> Option<String> {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = host.split(['/', ':']).next()?;
    let (before, _) = host.split_once(".amazonaws.com")?;
    let mut labels = before.rsplit('.').filter(|label| *label != "vpce");
    let region = labels.next()?;
    let service = labels.next()?;
    let is_region = region.split('-').count() >= 3 && region.ends_with(|last: char| last.is_ascii_digit());
    (is_region && service.starts_with("kinesis")).then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_shown_without_its_password() {
        for (endpoint, text) in [
            ("http://localhost:4567", "http://localhost:4567"),
            ("https://u:s3cret@kinesis.example/p/?k=s3cret", "https://kinesis.example/p/"),
            ("https://u:s3@cret@kinesis.example#s3cret", "https://kinesis.example"),
        ] {
            assert_eq!(shown(endpoint), text);
        }
    }

    #[test]
    fn the_region_is_that_of_the_endpoint() {
        for (endpoint, region) in [
            ("https://kinesis.us-west-2.amazonaws.com", Some("us-west-2")),
            ("https://kinesis.cn-north-1.amazonaws.com.cn/", Some("cn-north-1")),
            ("https://vpce-1-2.kinesis.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("https://kinesis-fips.us-gov-west-1.amazonaws.com:443", Some("us-gov-west-1")),
            ("https://kinesis.amazonaws.com", None),
            ("http://localhost:4567", None),
        ] {
            assert_eq!(region_of(endpoint).as_deref(), region, "{endpoint}");
        }
        assert_eq!(
            with_scheme("kinesis.eu-west-1.amazonaws.com".to_owned()),
            "https://kinesis.eu-west-1.amazonaws.com"
        );
    }
}
