//! The fields of a line for people and programs: unescaped, as JSON. Counts nothing.

use std::borrow::Cow;

use serde::Serialize;

use super::{
    event::{Event, Raw},
    text::unescape,
};
use crate::engine::time::Timestamp;

/// One line's fields, in the order and by the names that consumers of Apache logs as JSON know. Absent (`null`) is
/// what the log has as `-` or the format does not hold; bytes that are no UTF-8 are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fields<'l> {
    /// The remote host.
    pub host: Option<Cow<'l, str>>,
    /// The identity that identd told.
    pub ident: Option<Cow<'l, str>>,
    /// The authenticated user; empty where Apache wrote `""`.
    pub authuser: Option<Cow<'l, str>>,
    /// The time as the log spells it.
    pub datetime: Option<Cow<'l, str>>,
    /// The time in UTC.
    pub time: Option<Timestamp>,
    /// The first line of the request.
    pub request: Option<Cow<'l, str>>,
    /// Its first word.
    pub method: Option<Cow<'l, str>>,
    /// What stands between method and protocol, spaces and query included.
    pub path: Option<Cow<'l, str>>,
    /// Its last word, if that begins with `HTTP/`.
    pub protocol: Option<Cow<'l, str>>,
    /// The response status.
    pub response: Option<u16>,
    /// The size of the response.
    pub bytes: Option<u64>,
    /// The page that the client came from.
    pub referer: Option<Cow<'l, str>>,
    /// The client's name for itself.
    pub agent: Option<Cow<'l, str>>,
}

impl<'l> From<&Event<'l>> for Fields<'l> {
    fn from(event: &Event<'l>) -> Self {
        let raw = event.raw;
        let parts = Parts::of(&raw);
        Self {
            host: readable(raw.host),
            ident: readable(raw.ident),
            authuser: readable(raw.authuser),
            datetime: readable(raw.datetime),
            time: event.time,
            request: parts.request,
            method: parts.method,
            path: parts.path,
            protocol: parts.protocol,
            response: event.response,
            bytes: raw.bytes.filter(|bytes| *bytes != b"-").map(|_| event.bytes),
            referer: readable(raw.referer),
            agent: readable(raw.agent),
        }
    }
}

/// The request, and its parts.
struct Parts<'l> {
    request: Option<Cow<'l, str>>,
    method: Option<Cow<'l, str>>,
    path: Option<Cow<'l, str>>,
    protocol: Option<Cow<'l, str>>,
}

impl<'l> Parts<'l> {
    fn of(raw: &Raw<'l>) -> Self {
        let Some(request) = raw.request else {
            return Self::put_together(raw);
        };
        let present = Some(request).filter(|request| *request != b"-");
        let (method, path, protocol) = present.map_or((None, None, None), split);
        Self {
            request: readable(raw.request),
            // A part that is `-` was sent so: only the whole request can be absent.
            method: method.map(lossy),
            path: path.map(lossy),
            protocol: protocol.map(lossy),
        }
    }

    /// From `%m`, `%U`, `%q` and `%H`, as far as the format holds them.
    fn put_together(raw: &Raw<'l>) -> Self {
        let (method, uri, protocol) = (readable(raw.method), readable(raw.uri), readable(raw.protocol));
        let path = match (uri, readable(raw.query)) {
            (Some(uri), Some(query)) if !query.is_empty() => Some(Cow::Owned(format!("{uri}{query}"))),
            (uri, _) => uri,
        };
        let request = match (&method, &path) {
            (Some(method), Some(path)) => {
                let end = protocol.as_ref().map(|protocol| format!(" {protocol}")).unwrap_or_default();
                Some(Cow::Owned(format!("{method} {path}{end}")))
            }
            _ => None,
        };
        Self { request, method, path, protocol }
    }
}

type Slice<'l> = Option<&'l [u8]>;

/// Method, path and protocol of a request line. HTTP/0.9 has no protocol; what no HTTP client sent may have but one
/// word, which is then the method.
fn split(request: &[u8]) -> (Slice<'_>, Slice<'_>, Slice<'_>) {
    let is_space = |&byte: &u8| byte == b' ';
    let Some(first) = request.iter().position(is_space) else {
        return (Some(request).filter(|request| !request.is_empty()), None, None);
    };
    let (method, rest) = (request.get(..first), request.get(first + 1..).unwrap_or_default());
    let last = rest.iter().rposition(is_space);
    let word = last.map_or(Some(rest), |last| rest.get(last + 1..));
    match (word, last) {
        (Some(protocol), None) if protocol.starts_with(b"HTTP/") => (method, None, Some(protocol)),
        (Some(protocol), Some(last)) if protocol.starts_with(b"HTTP/") => {
            (method, rest.get(..last), Some(protocol))
        }
        _ => (method, Some(rest), None),
    }
}

fn readable(raw: Option<&[u8]>) -> Option<Cow<'_, str>> {
    raw.filter(|raw| *raw != b"-").map(lossy)
}

/// Unescaped, and text.
fn lossy(raw: &[u8]) -> Cow<'_, str> {
    match unescape(raw) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_splits_into_method_path_and_protocol() {
        for (request, method, path, protocol) in [
            ("GET / HTTP/1.1", Some("GET"), Some("/"), Some("HTTP/1.1")),
            ("GET /a b  c HTTP/1.1", Some("GET"), Some("/a b  c"), Some("HTTP/1.1")),
            ("GET /", Some("GET"), Some("/"), None),
            ("GET /a b", Some("GET"), Some("/a b"), None),
            ("GET HTTP/1.1", Some("GET"), None, Some("HTTP/1.1")),
            ("GET", Some("GET"), None, None),
            ("GET ", Some("GET"), Some(""), None),
            ("", None, None, None),
        ] {
            let bytes = |text: Option<&'static str>| text.map(str::as_bytes);
            assert_eq!(split(request.as_bytes()), (bytes(method), bytes(path), bytes(protocol)), "{request}");
        }
    }
}
