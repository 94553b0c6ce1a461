//! The reference data as a CSV file on disk: read block by block, replaced whole. Knows nothing of what is in it.
//!
//! A version is the content's MD5, as an `ETag` of S3 is, so that two editors are told apart however fast they write.
//! A replacement is written beside the file, synced and renamed over it, under a lock (`flock`) of the file itself:
//! a reader sees the old content or the new, and of two editors one is told to try again.

use std::{
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use md5::{Digest, Md5};

use crate::{
    backend::{BackendError, ReferenceStore, Result, Sink, Version},
    engine::reference::MAX_BYTES,
};

/// How long a changed file must stay as it is before it is read again: who writes it in place is not yet done.
const SETTLE: Duration = Duration::from_millis(100);

/// Bytes that are read at once.
const BLOCK: usize = 256 * 1024;

/// How many times a file is looked at until it stays as it is; then [`BackendError::Busy`].
const LOOKS: usize = 50;

/// A CSV file. Opens it anew for each call.
#[derive(Clone, Debug)]
pub struct CsvFile {
    path: PathBuf,
    /// What the file looked like when it had settled, and its version then.
    settled: Option<(Stamp, Version)>,
}

/// What changes when a file does: device, inode, size, and times in seconds and nanoseconds.
type Stamp = (u64, u64, u64, [i64; 4]);

impl CsvFile {
    /// The file at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), settled: None }
    }
}

impl ReferenceStore for CsvFile {
    async fn fetch<S: Sink>(&mut self, known: Option<&Version>, mut sink: S) -> Result<Option<(Version, S)>> {
        for _ in 0..LOOKS {
            let mut looked = None;
            if let Some(known) = known {
                let look = |path: &Path| open(path).map_err(|error| unreadable(path, error));
                let stamp = stamp(&self.blocking(look).await?.1);
                if matches!(&self.settled, Some((at, version)) if (*at, version) == (stamp, known)) {
                    return Ok(None);
                }
                looked = Some(stamp);
                tokio::time::sleep(SETTLE).await;
            }
            let expected = known.cloned();
            let read = self.blocking(move |path| {
                let read =
                    read(path, expected.as_ref(), &mut sink).map_err(|error| unreadable(path, error))?;
                Ok((read, sink))
            });
            let (before, after, version);
            ((before, after, version), sink) = read.await?;
            if before != after || looked.is_some_and(|looked| looked != before) {
                continue;
            }
            if looked.is_some() {
                self.settled = Some((before, version.clone()));
            }
            return Ok((known != Some(&version)).then_some((version, sink)));
        }
        Err(busy(&self.path, "is being written all the time: replace it by a rename instead"))
    }

    async fn replace(&mut self, expected: Option<&Version>, content: Bytes) -> Result<()> {
        let expected = expected.cloned();
        self.blocking(move |path| match &expected {
            Some(expected) => replace_existing(path, expected, &content),
            None => create(path, &content),
        })
        .await
    }
}

impl CsvFile {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || work(&path)).await;
        done.unwrap_or_else(|ended| {
            Err(BackendError::Failed {
                what: format!("{}: the work on it was cut off", self.path.display()),
                source: Some(ended.into()),
            })
        })
    }
}

/// Opens the file for reading; refuses what is no regular file, which might never end.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// Reads the file into `sink`, unless it has the version `known`: its stamps before and after, and its version.
fn read(path: &Path, known: Option<&Version>, sink: &mut impl Sink) -> io::Result<(Stamp, Stamp, Version)> {
    let (mut file, before) = open(path)?;
    if before.len() > MAX_BYTES as u64 {
        return Err(too_large());
    }
    let mut version = None;
    if let Some(known) = known {
        version = Some(version_of(&file)?).filter(|version| version == known);
        file.rewind()?;
    }
    let version = match version {
        Some(known) => known,
        None => read_all(&file, sink)?,
    };
    Ok((stamp(&before), stamp(&file.metadata()?), version))
}

/// Reads the open file into `sink`: its version.
fn read_all(file: &File, sink: &mut impl Sink) -> io::Result<Version> {
    sink.begin();
    let mut digest = Md5::new();
    blocks(file, |block| {
        digest.update(block);
        sink.push(block);
    })?;
    Ok(named(digest))
}

/// The version of the open file.
fn version_of(file: &File) -> io::Result<Version> {
    let mut digest = Md5::new();
    blocks(file, |block| digest.update(block))?;
    Ok(named(digest))
}

fn blocks(mut file: &File, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let (mut block, mut bytes) = (vec![0; BLOCK], 0);
    loop {
        let read = match file.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes += read;
        if bytes > MAX_BYTES {
            return Err(too_large());
        }
        each(block.get(..read).unwrap_or_default());
    }
}

fn too_large() -> io::Error {
    io::Error::other(format!("it has over {MAX_BYTES} bytes"))
}

fn stamp(metadata: &Metadata) -> Stamp {
    let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
    (metadata.dev(), metadata.ino(), metadata.len(), times)
}

fn named(digest: Md5) -> Version {
    let digest: [u8; 16] = digest.finalize().into();
    Version(format!("{:032x}", u128::from_be_bytes(digest)))
}

/// Locks the file and replaces the content that has the version `expected`.
fn replace_existing(path: &Path, expected: &Version, new: &[u8]) -> Result<()> {
    let cannot = |error| failed(path, "cannot be replaced", error);
    let path = match path.canonicalize() {
        Ok(path) => path, // the file a symbolic link leads to, not the link
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(changed(path)),
        Err(error) => return Err(cannot(error)),
    };
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => replace_locked(&path, &file, expected, new),
        Err(TryLockError::WouldBlock) => Err(busy(&path, "is being edited by somebody else")),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// Replaces the locked file, and keeps owner, group and permissions. The lock counts only if the path still leads to
/// what is locked: who held it before may have renamed another file there.
fn replace_locked(path: &Path, locked: &File, expected: &Version, new: &[u8]) -> Result<()> {
    let cannot = |error| failed(path, "cannot be replaced", error);
    let metadata = locked.metadata().map_err(cannot)?;
    let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    let still_there = fs::metadata(path).is_ok_and(|now| identity(&now) == identity(&metadata));
    if !still_there || version_of(locked).map_err(cannot)? != *expected {
        return Err(changed(path));
    }
    let beside = Beside::write(path, new, Some(&metadata)).map_err(cannot)?;
    fs::rename(&beside.path, path).map_err(cannot)?;
    sync_directory(path).map_err(cannot)
}

/// Creates the file, unless there is one; the name appears only with the content.
fn create(path: &Path, new: &[u8]) -> Result<()> {
    let exists = || busy(path, "exists: read it first");
    if fs::symlink_metadata(path).is_ok() {
        return Err(exists());
    }
    let cannot = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => failed(path, "cannot be created: its directory does not exist", error),
        _ => failed(path, "cannot be created", error),
    };
    let beside = Beside::write(path, new, None).map_err(cannot)?;
    match fs::hard_link(&beside.path, path) {
        Ok(()) => sync_directory(path).map_err(cannot),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists()),
        Err(error) => Err(cannot(error)),
    }
}

/// A hidden file beside the one to replace; gone when dropped, unless it was renamed. Only a process that is killed
/// leaves it behind.
struct Beside {
    path: PathBuf,
}

impl Beside {
    /// Writes and syncs the content. With `like`, owner, group and permissions are those, or it fails.
    fn write(path: &Path, content: &[u8], like: Option<&Metadata>) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let random = getrandom::u64()?;
        let beside = path.with_file_name(format!(".{name}.{random:016x}.tmp"));
        let mode = if like.is_some() { 0o600 } else { 0o666 };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        let beside = Self { path: beside };
        file.write_all(content)?;
        if let Some(like) = like {
            let now = file.metadata()?;
            if (now.uid(), now.gid()) != (like.uid(), like.gid()) {
                fchown(&file, Some(like.uid()), Some(like.gid()))?;
            }
            file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
        }
        file.sync_all()?;
        Ok(beside)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // renamed as a rule, and then it is not there
    }
}

/// Makes the new name survive a power cut.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn changed(path: &Path) -> BackendError {
    busy(path, "was changed by somebody else: read it again")
}

fn busy(path: &Path, what: &str) -> BackendError {
    BackendError::Busy { why: format!("{} {what}", path.display()) }
}

fn unreadable(path: &Path, error: io::Error) -> BackendError {
    match error.kind() {
        ErrorKind::NotFound => failed(path, "does not exist; `logtally reference add` makes it", error),
        _ => failed(path, "cannot be read", error),
    }
}

fn failed(path: &Path, what: &str, error: io::Error) -> BackendError {
    let why = match error.kind() {
        ErrorKind::NotFound => String::new(),
        ErrorKind::PermissionDenied => ": permission denied; run as its owner".to_owned(),
        _ => format!(": {error}"),
    };
    BackendError::Failed { what: format!("{} {what}{why}", path.display()), source: Some(error.into()) }
}

#[cfg(test)]
mod tests;
