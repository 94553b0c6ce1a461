//! Reference data in S3. Parses none of it.

use std::{error::Error, fmt, str::FromStr};

use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use bytes::Bytes;

use crate::{
    backend::{BackendError, ReferenceStore, Result, Sink, Version, aws::error::Call},
    engine::reference::MAX_BYTES,
};

/// The answer to a request for another version than the one that is there, when there is no other.
const NOT_MODIFIED: u16 = 304;
/// As the embedded backend says it.
const MISSING: &str = "does not exist; `logtally reference add` makes it";

/// A bucket and a key, `s3://bucket/key` in text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
}

impl FromStr for ObjectName {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self> {
        let name = text.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        match name {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
            }
            _ => Err(BackendError::Refused {
                what: format!("{text}: reference data in S3 is named s3://bucket/key"),
                source: None,
            }),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// One object. Its version is its `ETag`.
#[derive(Debug)]
pub struct Object {
    client: Client,
    name: ObjectName,
}

impl Object {
    /// The object of this name.
    #[must_use]
    pub fn new(client: Client, name: ObjectName) -> Self {
        Self { client, name }
    }
}

impl ReferenceStore for Object {
    async fn fetch<S: Sink>(&mut self, known: Option<&Version>, sink: S) -> Result<Option<(Version, S)>> {
        let call = self.client.get_object().bucket(&self.name.bucket).key(&self.name.key);
        let found = match call.set_if_none_match(known.map(|known| known.0.clone())).send().await {
            Ok(found) => found,
            Err(error) => {
                return match status(&error) {
                    Some(NOT_MODIFIED) => Ok(None),
                    _ if error.code() == Some("NoSuchKey") => Err(self.failed(MISSING)),
                    _ => Err(self.fault("s3:GetObject", error)),
                };
            }
        };
        let Some(version) = found.e_tag.map(Version) else {
            return Err(self.failed("came without an ETag: logtally cannot tell when it changes"));
        };
        if found.content_length.and_then(|length| usize::try_from(length).ok()) > Some(MAX_BYTES) {
            return Err(self.too_large());
        }
        Ok(Some((version, self.read(found.body, sink).await?)))
    }

    async fn replace(&mut self, expected: Option<&Version>, content: Bytes) -> Result<()> {
        let call = self.client.put_object().bucket(&self.name.bucket).key(&self.name.key);
        let call = call.content_type("text/csv").body(content.into());
        let (call, in_between) = match expected {
            Some(Version(expected)) => {
                (call.if_match(expected), "was changed by somebody else: read it again")
            }
            None => (call.if_none_match("*"), "exists: read it first"),
        };
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("NoSuchKey") || status(&error).is_some_and(is_conflict) => {
                Err(BackendError::Busy { why: format!("{} {in_between}", self.name) })
            }
            Err(error) => Err(self.fault("s3:PutObject", error)),
        }
    }
}

impl Object {
    async fn read<S: Sink>(&self, mut body: ByteStream, mut sink: S) -> Result<S> {
        sink.begin();
        let mut bytes = 0;
        let cut_off = |error| BackendError::Busy { why: format!("{}: {error}", self.name) };
        while let Some(part) = body.try_next().await.map_err(cut_off)? {
            bytes += part.len();
            if bytes > MAX_BYTES {
                return Err(self.too_large());
            }
            sink.push(&part);
        }
        Ok(sink)
    }

    fn fault<E>(&self, action: &'static str, error: SdkError<E, HttpResponse>) -> BackendError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let bucket = &self.name.bucket;
        if error.code() == Some("NoSuchBucket") {
            let what = format!("{}: bucket {bucket} does not exist: create it, or name another", self.name);
            return BackendError::Refused { what, source: None };
        }
        Call { action, kind: "bucket", name: bucket }.fault(error)
    }

    fn too_large(&self) -> BackendError {
        self.failed(format_args!("cannot be read: it has over {MAX_BYTES} bytes"))
    }

    fn failed(&self, what: impl fmt::Display) -> BackendError {
        BackendError::Failed { what: format!("{} {what}", self.name), source: None }
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

/// Not the version expected, or another request for the same object at the same time (S3, conditional writes).
fn is_conflict(status: u16) -> bool {
    matches!(status, 409 | 412)
}
