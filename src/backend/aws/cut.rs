//! Cuts as they are kept: compressed, in the lease's item or in S3. Interprets none.

use std::io::Read;

use aws_sdk_s3::{error::SdkError, primitives::ByteStream};
use tokio::task::spawn_blocking;

use crate::backend::{
    BackendError, Result,
    aws::{Shared, error::Call, table::Item},
};

/// The largest cut that goes into an item, compressed, where there is no bucket: an item has at most 400 KB (DynamoDB,
/// item size).
const ITEM_BYTES: usize = 300_000;
/// The same where there is a bucket: every renewal of the lease costs as much as writing the whole item (DynamoDB,
/// write consumption), so that beyond about so much S3 is cheaper.
const ITEM_BYTES_BESIDE_A_BUCKET: usize = 4_096;
/// The largest state.
const STATE_BYTES: u64 = 1 << 30;
/// zstd's own default.
const LEVEL: i32 = 3;

/// Where a cut goes.
#[derive(Debug)]
pub(super) enum Place {
    /// Nowhere: there is no state.
    Nowhere,
    /// Into the item.
    Item(Vec<u8>),
    /// Into this object.
    Object(String, Vec<u8>),
}

/// Compresses `state` and finds its place; `object` names a new object.
pub(super) async fn place(shared: &Shared, state: Vec<u8>, object: impl FnOnce() -> String) -> Result<Place> {
    if state.is_empty() {
        return Ok(Place::Nowhere);
    }
    fits(state.len(), STATE_BYTES)?;
    let compressed = blocking("compressing a cut", move || zstd::bulk::compress(&state, LEVEL)).await?;
    let most = match shared.settings.bucket {
        Some(_) => ITEM_BYTES_BESIDE_A_BUCKET,
        None => ITEM_BYTES,
    };
    match &shared.settings.bucket {
        _ if compressed.len() <= most => Ok(Place::Item(compressed)),
        Some(_) => Ok(Place::Object(object(), compressed)),
        None => Err(BackendError::Refused {
            what: format!(
                "a cut of {} bytes, compressed, is too large for an item of table {}: name a bucket for such in \
                 [aws] bucket",
                compressed.len(),
                shared.settings.table
            ),
            source: None,
        }),
    }
}

/// The state that `item` holds or points to; `None` if its object is gone, as it is when a newer cut replaced it.
pub(super) async fn state(shared: &Shared, item: &mut Item) -> Result<Option<Vec<u8>>> {
    let compressed = match (item.cut.take(), &item.object) {
        (Some(cut), _) => cut,
        (None, None) => return Ok(Some(Vec::new())),
        (None, Some(object)) => match get(shared, object).await? {
            Some(cut) => cut,
            None => return Ok(None),
        },
    };
    let state = blocking("decompressing a cut", move || decompress(&compressed, STATE_BYTES)).await?;
    fits(state.len(), STATE_BYTES).map(|()| Some(state))
}

fn fits(bytes: usize, most: u64) -> Result<()> {
    if bytes as u64 <= most {
        return Ok(());
    }
    Err(BackendError::Failed {
        what: format!("a cut of over {most} bytes, the most there may be: read fewer files, or more shards"),
        source: None,
    })
}

/// No more than one byte over `most`.
fn decompress(compressed: &[u8], most: u64) -> std::io::Result<Vec<u8>> {
    let mut state = Vec::new();
    zstd::Decoder::new(compressed)?.take(most + 1).read_to_end(&mut state).map(|_| state)
}

/// Writes an object; it is not changed afterwards.
pub(super) async fn put(shared: &Shared, object: &str, compressed: Vec<u8>) -> Result<()> {
    let bucket = bucket(shared)?;
    let body = ByteStream::from(compressed);
    let done = shared.clients.s3.put_object().bucket(bucket).key(object).body(body).send().await;
    done.map(drop).map_err(|error| Call { action: "s3:PutObject", kind: "bucket", name: bucket }.fault(error))
}

/// Deletes an object that nothing points to. What fails is left behind: it costs its storage and no more.
pub(super) async fn delete(shared: &Shared, object: &str) {
    let Ok(bucket) = bucket(shared) else { return };
    if let Err(error) = shared.clients.s3.delete_object().bucket(bucket).key(object).send().await {
        let error = Call { action: "s3:DeleteObject", kind: "bucket", name: bucket }.fault(error);
        tracing::warn!("s3://{bucket}/{object} is left behind: {error}");
    }
}

async fn get(shared: &Shared, object: &str) -> Result<Option<Vec<u8>>> {
    let bucket = bucket(shared)?;
    let call = Call { action: "s3:GetObject", kind: "bucket", name: bucket };
    let found = match shared.clients.s3.get_object().bucket(bucket).key(object).send().await {
        Err(SdkError::ServiceError(error)) if error.err().is_no_such_key() => return Ok(None),
        found => found.map_err(|error| call.fault(error))?,
    };
    let cut_off = |error| BackendError::Busy { why: format!("{call}: {object}: {error}") };
    found.body.collect().await.map(|body| Some(body.into_bytes().into())).map_err(cut_off)
}

/// The item points to an object that is not there, and goes on to do so.
pub(super) fn gone(shared: &Shared, item: &Item) -> BackendError {
    let bucket = shared.settings.bucket.as_deref().unwrap_or_default();
    let object = item.object.as_deref().unwrap_or_default();
    BackendError::Failed {
        what: format!(
            "the cut s3://{bucket}/{object} is gone: restore it, or delete the item {} of table {} and count again \
             what the stream holds",
            item.key, shared.settings.table
        ),
        source: None,
    }
}

fn bucket(shared: &Shared) -> Result<&str> {
    shared.settings.bucket.as_deref().ok_or_else(|| BackendError::Refused {
        what: format!(
            "table {} points to cuts in S3: name their bucket in [aws] bucket",
            shared.settings.table
        ),
        source: None,
    })
}

async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = spawn_blocking(work).await.map_err(|ended| BackendError::failed(what, ended))?;
    done.map_err(|error| BackendError::failed(format!("{what}: {error}"), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_bound_a_state_is_refused_and_unpacked_no_further() {
        let compressed = zstd::bulk::compress(&vec![7; 1_000_000], LEVEL).unwrap();
        assert_eq!(decompress(&compressed, 1_000_000).unwrap(), vec![7; 1_000_000]);
        assert_eq!(decompress(&compressed, 100).unwrap().len(), 101);
        assert!(fits(100, 100).is_ok());
        insta::assert_snapshot!(
            fits(101, 100).unwrap_err(),
            @"a cut of over 100 bytes, the most there may be: read fewer files, or more shards"
        );
    }
}
