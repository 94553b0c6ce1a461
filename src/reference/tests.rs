//! Reloads that must keep the last good data, and edits of which none may be lost.

use std::{fs, path::Path, thread};

use super::*;
use crate::backend::embedded::reference::CsvFile;

const HEADER: &str = "Host,ApplicationName,Contact\n";

fn entry(host: &str, application: &str) -> Entry {
    Entry { host: host.to_owned(), application: application.to_owned(), ..Entry::default() }
}

async fn refreshed(watched: &mut Watched<CsvFile>) -> String {
    match watched.refresh().await {
        Ok(Some(difference)) => difference.to_string(),
        Ok(None) => "nothing new".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn in_place(path: &Path, rows: &str) {
    fs::write(path, format!("{HEADER}{rows}")).unwrap();
}

#[tokio::test]
async fn a_bad_file_is_told_once_and_the_last_good_one_stays_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts.csv");
    in_place(&path, "web1,A,\n");
    let mut watched = Watched::open(CsvFile::new(&path)).await.unwrap();
    assert_eq!(refreshed(&mut watched).await, "nothing new");
    in_place(&path, "web2,A,\n"); // as long as before
    assert_eq!(refreshed(&mut watched).await, "1 (web2) added, 1 (web1) removed, 0 moved");
    let good = watched.current();
    for (bad, message) in [
        ("web3,A,\nweb4,B", "reference data, row 3: expected 3 fields as in the header, found 2"),
        (
            "web3,Unknown,\n",
            "reference data, row 2: ApplicationName must not be \"Unknown\", under which hosts without owner are counted",
        ),
    ] {
        in_place(&path, bad);
        assert_eq!(refreshed(&mut watched).await, message);
        assert_eq!(watched.trouble(), Some(message));
        assert_eq!(refreshed(&mut watched).await, "nothing new");
        assert!(Arc::ptr_eq(&good, &watched.current()));
    }
    fs::write(&path, "").unwrap();
    assert!(refreshed(&mut watched).await.contains("the file is empty"));
    in_place(&path, "web2,B,\n");
    assert_eq!(refreshed(&mut watched).await, "0 added, 0 removed, 1 (web2) moved");
    assert_eq!(watched.trouble(), None);
    assert_eq!(good.owners()[0].application, "A", "who holds the old one keeps it");
}

#[tokio::test]
async fn a_file_that_vanishes_is_told_once_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts.csv");
    in_place(&path, "web1,A,\nweb1,A,\n");
    let mut watched = Watched::open(CsvFile::new(&path)).await.unwrap();
    assert_eq!(watched.warnings().1, 1);
    fs::remove_file(&path).unwrap();
    let message = refreshed(&mut watched).await;
    assert!(message.ends_with("hosts.csv does not exist; `logtally reference add` makes it"), "{message}");
    assert_eq!(refreshed(&mut watched).await, "nothing new");
    assert_eq!(watched.trouble(), Some(message.as_str()));
    assert_eq!(watched.current().len(), 1);
    in_place(&path, "web1,A,\nweb1,A,\n");
    assert_eq!(refreshed(&mut watched).await, "nothing new");
    assert_eq!(watched.trouble(), None);
    fs::remove_file(&path).unwrap();
    assert_eq!(refreshed(&mut watched).await, message, "vanished again: told again");
}

#[tokio::test]
async fn what_cannot_be_loaded_at_first_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let mut messages = Vec::new();
    for (name, content) in
        [("missing.csv", None), ("bad.csv", Some("10.0.0.300,A,\n")), ("binary.csv", Some("\0\u{1}"))]
    {
        let path = directory.path().join(name);
        if let Some(content) = content {
            in_place(&path, content);
        }
        let error = Watched::open(CsvFile::new(path)).await.unwrap_err().to_string();
        messages.push(error.replace(&directory.path().display().to_string(), "DIR"));
    }
    let error = Watched::open(CsvFile::new(directory.path())).await.unwrap_err();
    messages.push(error.to_string().replace(&directory.path().display().to_string(), "DIR"));
    insta::assert_snapshot!(messages.join("\n"), @r#"
    DIR/missing.csv does not exist; `logtally reference add` makes it
    reference data, row 2: "10.0.0.300" is no host name, address or CIDR block
    reference data, row 2: expected 3 fields as in the header, found 1
    DIR cannot be read: it is no regular file
    "#);
}

#[tokio::test]
async fn editing_makes_the_file_and_says_what_it_did() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts.csv");
    let mut store = CsvFile::new(&path);
    assert!(matches!(remove(&mut store, "web1").await, Err(Error::Store(BackendError::Failed { .. }))));
    assert!(!path.exists());
    assert_eq!(add(&mut store, &entry("web1", "A")).await.unwrap(), Outcome::Added);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{HEADER}web1,A,\n"));
    assert_eq!(add(&mut store, &entry("web1", "A")).await.unwrap(), Outcome::Unchanged);
    assert!(
        matches!(add(&mut store, &entry("web1", "B")).await.unwrap(), Outcome::Replaced { was } if was.application == "A")
    );
    assert_eq!(list(&mut store).await.unwrap()[0].entry, entry("web1", "B"));
    assert_eq!(remove(&mut store, "WEB1").await.unwrap(), Outcome::Removed);
    assert_eq!(remove(&mut store, "web1").await.unwrap(), Outcome::NotThere);
    assert_eq!(fs::read_to_string(&path).unwrap(), HEADER);
    let left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["hosts.csv"]);
    assert!(matches!(
        add(&mut CsvFile::new(directory.path()), &entry("a", "A")).await,
        Err(Error::Store(BackendError::Failed { .. }))
    ));
    let nowhere = directory.path().join("no/hosts.csv");
    let error = add(&mut CsvFile::new(nowhere), &entry("a", "A")).await.unwrap_err().to_string();
    assert!(error.ends_with("no/hosts.csv cannot be created: its directory does not exist"), "{error}");
    fs::write(&path, "no header\n").unwrap();
    assert!(matches!(add(&mut store, &entry("a", "A")).await, Err(Error::Edit(EditError::File(_)))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "no header\n");
}

/// Eight editors at once, each with a store and a runtime of its own as processes have, and no file to begin with.
#[test]
fn of_edits_at_once_none_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = &directory.path().join("hosts.csv");
    let run = |editor: usize| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut store = CsvFile::new(path);
            for n in 0..8 {
                let host = format!("host{editor}-{n}.example.org");
                assert_eq!(add(&mut store, &entry(&host, "A")).await.unwrap(), Outcome::Added);
                if n % 4 == 0 {
                    assert_eq!(remove(&mut store, &host).await.unwrap(), Outcome::Removed);
                }
            }
        });
    };
    thread::scope(|scope| {
        for editor in 0..8 {
            scope.spawn(move || run(editor));
        }
    });
    let listed = edit::list(&fs::read(path).unwrap()).unwrap();
    assert_eq!(listed.len(), 8 * 6);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// Compiles only if a spawned task can refresh and edit.
#[test]
fn reloads_and_edits_can_move_between_threads() {
    fn can_move(_: impl Send) {}
    async fn reload(mut watched: Watched<CsvFile>) -> Result<Option<Difference>> {
        watched.refresh().await
    }
    let mut store = CsvFile::new("hosts.csv");
    can_move(Watched::open(store.clone()));
    can_move(|watched| can_move(reload(watched)));
    can_move(add(&mut store, &entry("web1", "A")));
    can_move(remove(&mut store, "web1"));
}
