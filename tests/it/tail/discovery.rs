//! Which files patterns find, and what is refused.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    process::Command,
};

use logtally::{
    engine::time::Timestamp,
    tail::{MAX_DEPTH, Notice, Settings, TailError, Tailer},
};

use super::rig::{Rig, text};

fn found(patterns: &[&str], exclude: &[&str]) -> Vec<String> {
    let mut rig = Rig::new(patterns);
    rig.settings.exclude = exclude.iter().map(|&text| text.to_owned()).collect();
    let names = [
        "access.log",
        "error.log",
        ".access.log.swp",
        "one/access.log",
        "one/access.log.1",
        "two/access.log",
        "two/deep/er/access.log",
        "two/deep/er/[x].log",
    ];
    for (number, name) in names.iter().enumerate() {
        fs::create_dir_all(rig.path(name).parent().unwrap()).unwrap();
        rig.append(name, &text(number..number + 1));
    }
    rig.polls(2);
    let root = rig.root.path().to_owned();
    let mut names: Vec<String> = rig
        .tailer()
        .status()
        .iter()
        .map(|source| source.path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn patterns_reach_into_directories() {
    assert_eq!(found(&["*.log"], &[]), ["access.log", "error.log"]);
    assert_eq!(found(&["*/access*.log*"], &["*.1"]), ["one/access.log", "two/access.log"]);
    assert_eq!(
        found(&["**/access.log", "*/access.log"], &[]),
        ["access.log", "one/access.log", "two/access.log", "two/deep/er/access.log"]
    );
    assert_eq!(found(&["two/**"], &[]), ["two/access.log", "two/deep/er/[x].log", "two/deep/er/access.log"]);
    assert_eq!(found(&["two/*/*/\\[x].log"], &[]), ["two/deep/er/[x].log"]);
    assert_eq!(found(&["{one,two}/access.log"], &[]), ["one/access.log", "two/access.log"]);
    assert_eq!(found(&[".*"], &[]), [".access.log.swp"]);
    assert_eq!(found(&["**/**/*.1"], &[]), ["one/access.log.1"]);
}

#[test]
fn what_is_no_file_is_refused_once() {
    let mut rig = Rig::new(&["log*"]);
    fs::create_dir(rig.path("log.directory")).unwrap();
    symlink("/dev/null", rig.path("log.device")).unwrap();
    symlink("nowhere", rig.path("log.dangling")).unwrap();
    let _socket = UnixListener::bind(rig.path("log.socket")).unwrap();
    assert!(Command::new("mkfifo").arg(rig.path("log.pipe")).status().unwrap().success());
    rig.settings.follow_links = true;
    rig.polls(3);
    let mut kinds: Vec<&str> = rig
        .notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Refused { kind, .. } => Some(*kind),
            _ => None,
        })
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["a device", "a directory", "a pipe", "a socket"]);
    let dangling =
        |notice: &Notice| matches!(notice, Notice::Unreadable { path, .. } if path.ends_with("log.dangling"));
    assert!(rig.has_notice(dangling));
    assert!(rig.has_notice(|notice| matches!(notice, Notice::NothingMatches { .. })));
}

#[test]
fn links_that_lead_out_are_followed_only_if_told_so() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), text(0..3)).unwrap();
    for follow in [false, true] {
        let mut rig = Rig::new(&["logs/*", "logs/*/*"]);
        rig.settings.follow_links = follow;
        fs::create_dir_all(rig.path("logs/inside")).unwrap();
        symlink(outside.path().join("secret"), rig.path("logs/link")).unwrap();
        symlink(outside.path(), rig.path("logs/directory")).unwrap();
        rig.append("logs/inside/real", &text(5..6));
        symlink("inside/real", rig.path("logs/current")).unwrap();
        rig.polls(2);
        rig.expect(if follow { vec![0, 1, 2, 5] } else { vec![5] });
        assert_eq!(rig.has_notice(|notice| matches!(notice, Notice::LeadsOut { .. })), !follow);
    }
}

#[test]
fn directories_that_link_in_circles_end() {
    let mut rig = Rig::new(&["**/access.log", "*/*/*/access.log"]);
    fs::create_dir(rig.path("a")).unwrap();
    symlink("..", rig.path("a/up")).unwrap();
    rig.append("a/access.log", &text(0..1));
    rig.polls(2);
    rig.expect(0..1);
}

#[test]
fn below_the_deepest_directory_nothing_is_read_and_that_is_told() {
    let mut rig = Rig::new(&["**/access.log"]);
    let directory = |depth: usize| vec!["d"; depth].join("/");
    fs::create_dir_all(rig.path(&directory(MAX_DEPTH + 1))).unwrap();
    rig.append(&format!("{}/access.log", directory(MAX_DEPTH)), &text(0..1));
    rig.append(&format!("{}/access.log", directory(MAX_DEPTH + 1)), &text(1..2));
    rig.polls(2);
    rig.expect(0..1);
    assert!(rig.has_notice(|notice| matches!(notice, Notice::TooManyEntries { .. })));
}

#[test]
fn patterns_that_cannot_be_understood() {
    let refused = |pattern: &str, exclude: &str| {
        let mut settings = Settings::new(vec![pattern.to_owned()]);
        settings.exclude = vec![exclude.to_owned()];
        match Tailer::open(settings, &[], Timestamp::default()) {
            Err(error @ TailError::Pattern { .. }) => error.to_string(),
            other => panic!("{:?}", other.err()),
        }
    };
    insta::assert_snapshot!(refused("", "x"), @r#"file pattern "": it is empty: name a file, as /var/log/apache2/access.log*"#);
    insta::assert_snapshot!(refused("/a/{b/c,d}", "x"), @r#"file pattern "/a/{b/c,d}": braces cannot span directories: write several patterns"#);
    insta::assert_snapshot!(refused("/a/[b", "x"), @r#"file pattern "/a/[b": unclosed character class; missing ']'"#);
    insta::assert_snapshot!(refused("/a", "[x"), @r#"file pattern "[x": unclosed character class; missing ']'"#);
    insta::assert_snapshot!(refused("/", "x"), @r#"file pattern "/": it names no file"#);
}

#[test]
fn nothing_in_the_directory_of_the_state_is_opened_by_pattern_by_link_or_in_search_of_a_lost_file() {
    for private in [false, true] {
        let mut rig = Rig::new(&["*.log*", "state/*", "**/deep.log"]);
        if private {
            rig.settings.private = Some(rig.path("state"));
            rig.settings.patterns.remove(1);
            rig.settings.patterns.push(rig.path("state/logtally.db").to_str().unwrap().to_owned());
        }
        fs::create_dir_all(rig.path("state/deeper")).unwrap();
        rig.append("access.log", &text(0..3));
        rig.append("state/logtally.db", &text(10..13));
        rig.append("state/deeper/deep.log", &text(20..23));
        symlink("state/logtally.db", rig.path("link.log")).unwrap();
        rig.poll();
        rig.append("access.log", &text(3..6));
        rig.stop();
        rig.rename("access.log", "state/access.moved");
        rig.polls(3);
        if private {
            rig.expect(0..3);
        } else {
            rig.expect((0..6).chain(10..13).chain(20..23));
        }
    }
}
