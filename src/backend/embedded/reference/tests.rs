//! Reads and replacements of files that change meanwhile.

use std::os::unix::fs::{chown, symlink};

use super::*;

async fn fetched(store: &mut CsvFile) -> (Version, Vec<u8>) {
    store.fetch(None, Vec::new()).await.unwrap().unwrap()
}

fn version(content: &[u8]) -> Version {
    named(Md5::new_with_prefix(content))
}

fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts.csv");
    fs::write(&path, content).unwrap();
    (directory, path)
}

fn is_busy<T>(result: &Result<T>) -> bool {
    matches!(result, Err(BackendError::Busy { .. }))
}

#[tokio::test]
async fn only_the_expected_version_is_replaced() {
    let (directory, path) = file("");
    fs::remove_file(&path).unwrap();
    let mut store = CsvFile::new(&path);
    let nothing = version(b"");
    assert!(is_busy(&store.replace(Some(&nothing), Bytes::new()).await)); // there is none
    store.replace(None, Bytes::from("one")).await.unwrap();
    assert!(is_busy(&store.replace(None, Bytes::from("two")).await)); // there is one
    let (one, content) = fetched(&mut store).await;
    assert_eq!(content, b"one");
    store.replace(Some(&one), Bytes::from("two")).await.unwrap();
    assert!(is_busy(&store.replace(Some(&one), Bytes::from("six")).await)); // there is another
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(store.fetch(Some(&one), Vec::new()).await.unwrap().unwrap().1, b"two");
    let (two, _) = fetched(&mut store).await;
    for _ in 0..2 {
        assert!(store.fetch(Some(&two), Vec::new()).await.unwrap().is_none());
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(store.fetch(Some(&two), Vec::new()).await, Err(BackendError::Failed { .. })));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn who_holds_the_lock_edits_alone() {
    let (_directory, path) = file("one");
    let mut store = CsvFile::new(&path);
    let (one, _) = fetched(&mut store).await;
    let holder = File::open(&path).unwrap();
    holder.lock().unwrap();
    let result = store.replace(Some(&one), Bytes::from("two")).await;
    let message = result.unwrap_err().to_string();
    assert!(message.ends_with("hosts.csv is being edited by somebody else"));
    drop(holder);
    store.replace(Some(&one), Bytes::from("two")).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_still_being_written_is_not_taken() {
    let (_directory, path) = file("Host\n");
    let mut store = CsvFile::new(&path);
    let (known, _) = fetched(&mut store).await;
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    let write = async {
        for _ in 0..40 {
            file.write_all(b"web1,A\n").unwrap();
            tokio::time::sleep(SETTLE / 20).await;
        }
    };
    let (fetched, ()) = tokio::join!(store.fetch(Some(&known), Vec::new()), write);
    assert_eq!(fetched.unwrap().unwrap().1.len(), 5 + 40 * 7);
}

#[test]
fn a_lock_of_a_file_that_was_renamed_over_does_not_count() {
    let (directory, path) = file("one");
    let other = directory.path().join("other.csv");
    let late = File::open(&path).unwrap();
    fs::write(&other, "two").unwrap();
    fs::rename(&other, &path).unwrap();
    late.lock().unwrap();
    assert!(is_busy(&replace_locked(&path, &late, &version(b"one"), b"six")));
    assert_eq!(fs::read(&path).unwrap(), b"two");
}

#[tokio::test]
async fn owner_permissions_and_link_stay_as_they_are() {
    let (directory, path) = file("one");
    let link = directory.path().join("link.csv");
    symlink("hosts.csv", &link).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let _ = chown(&path, Some(4_321), Some(1_234)); // for root only
    let before = fs::metadata(&path).unwrap();
    let mut store = CsvFile::new(&link);
    let (one, _) = fetched(&mut store).await;
    store.replace(Some(&one), Bytes::from("two")).await.unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_ne!(before.ino(), after.ino(), "not written in place");
    assert_eq!((before.mode(), before.uid(), before.gid()), (after.mode(), after.uid(), after.gid()));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&path).unwrap(), b"two");
}

#[tokio::test]
async fn what_never_ends_or_is_too_large_is_not_read() {
    let error = CsvFile::new("/dev/zero").fetch(None, Vec::new()).await.unwrap_err();
    let message = "/dev/zero cannot be read: it is no regular file";
    assert_eq!(error.to_string(), message);
    let (_directory, path) = file("");
    let size = OpenOptions::new().write(true).open(&path).unwrap();
    size.set_len(MAX_BYTES as u64 + 1).unwrap();
    let message = CsvFile::new(&path).fetch(None, Vec::new()).await.unwrap_err().to_string();
    assert!(message.ends_with("hosts.csv cannot be read: it has over 268435456 bytes"));
}

/// Counts how often a file begins.
struct Begun(usize, Vec<u8>);

impl Sink for Begun {
    fn begin(&mut self) {
        self.0 += 1;
        self.1.clear();
    }

    fn push(&mut self, block: &[u8]) {
        self.1.extend_from_slice(block);
    }
}

#[tokio::test]
async fn a_file_of_many_blocks_is_read_once_and_only_if_it_changed() {
    let content = "web1,A\n".repeat(BLOCK / 3);
    let (_directory, path) = file(&content);
    let mut store = CsvFile::new(&path);
    let (known, read) = store.fetch(None, Begun(0, Vec::new())).await.unwrap().unwrap();
    assert_eq!((read.0, read.1.len(), known.clone()), (1, content.len(), version(content.as_bytes())));
    assert_eq!(read.1, content.as_bytes());
    fs::write(&path, &content).unwrap(); // another time, the same content
    assert!(store.fetch(Some(&known), Begun(0, Vec::new())).await.unwrap().is_none());
    fs::write(&path, content.replace('A', "B")).unwrap();
    let (_, read) = store.fetch(Some(&known), Begun(0, Vec::new())).await.unwrap().unwrap();
    assert_eq!((read.0, read.1), (1, content.replace('A', "B").into_bytes()));
}
