//! How files are laid out: short, opened with their purpose, reached, and the same in both backends.

use super::{
    complaints,
    source::{File, module_dir},
};

/// The longest file, in lines.
const MOST_LINES: usize = 400;

/// The files of a port have the same name in each backend; what else a backend needs is its own.
const OF_A_PORT: [&str; 9] = [
    "checkpoint.rs",
    "error.rs",
    "metrics.rs",
    "mod.rs",
    "payload.rs",
    "reader.rs",
    "reference.rs",
    "shard.rs",
    "stream.rs",
];

pub(super) fn short_and_opened(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let lines = file.text.lines().count();
        if lines > MOST_LINES {
            complaints.push(format!("{} has {lines} lines; {MOST_LINES} are the most", file.path));
        }
        if !file.text.starts_with("//! ") {
            complaints.push(format!("{} does not open with its purpose, `//! …`", file.path));
        }
    }
    complaints
}

pub(super) fn twin_backends(files: &[File]) -> Vec<String> {
    let has = |path: &str| files.iter().any(|file| file.path == path);
    let wanted = ["embedded", "aws"]
        .iter()
        .flat_map(|backend| OF_A_PORT.iter().map(move |name| format!("src/backend/{backend}/{name}")));
    wanted
        .filter(|path| !has(path))
        .map(|path| format!("{path} is missing: each backend has the ports' files"))
        .collect()
}

/// Every file under `tests/it` is declared by one that is reached from `main.rs`; one that is not would be silent.
pub(super) fn reached(files: &[File]) -> Vec<String> {
    let mut reached = vec!["tests/it/main.rs".to_owned()];
    let mut next = 0;
    while let Some(path) = reached.get(next).cloned() {
        next += 1;
        let Some(file) = files.iter().find(|file| file.path == path) else {
            continue;
        };
        let dir = module_dir(&path);
        for name in declared(&file.code()) {
            reached.extend([format!("{dir}/{name}.rs"), format!("{dir}/{name}/mod.rs")]);
        }
    }
    let tests = files.iter().filter(|file| file.is_rust() && file.path.starts_with("tests/it/"));
    let silent = tests.filter(|file| !reached.contains(&file.path));
    silent.map(|file| format!("{} is declared nowhere, so that it never runs", file.path)).collect()
}

fn declared(code: &str) -> Vec<&str> {
    let modules = code.split("mod ").skip(1).filter_map(|rest| rest.split_once(';'));
    modules
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .collect()
}

pub(super) fn none_ignored(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        // Attributes begin their line; a text that speaks of them does not.
        for (line, text) in file.text.lines().enumerate() {
            if text.trim_start().starts_with("#[ignore") {
                complaints.push(format!("{} line {}: a test that is ignored is none", file.path, line + 1));
            }
        }
    }
    complaints
}

#[test]
fn long_files_and_files_without_purpose_are_found() {
    let long = format!("//! Long.\n{}", "\n".repeat(MOST_LINES));
    let found = complaints(
        short_and_opened,
        &[("src/a.rs", &long), ("src/b.rs", "use std::fmt;\n"), ("c.md", "# C")],
    );
    insta::assert_snapshot!(found, @"
    src/a.rs has 401 lines; 400 are the most
    src/b.rs does not open with its purpose, `//! …`
    ");
    let longest = format!("//! Long.\n{}", "\n".repeat(MOST_LINES - 1));
    assert_eq!(complaints(short_and_opened, &[("src/a.rs", &longest)]), "");
}

#[test]
fn a_backend_that_lacks_a_file_of_a_port_is_found() {
    let paths: Vec<String> = ["embedded", "aws"]
        .iter()
        .flat_map(|backend| OF_A_PORT.iter().map(move |name| format!("src/backend/{backend}/{name}")))
        .collect();
    let mut files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
    files.push(("src/backend/aws/lease.rs", ""));
    assert_eq!(complaints(twin_backends, &files), "");
    files.retain(|(path, _)| !path.ends_with("aws/metrics.rs"));
    assert_eq!(
        complaints(twin_backends, &files),
        "src/backend/aws/metrics.rs is missing: each backend has the ports' files"
    );
}

#[test]
fn a_test_file_that_nobody_declares_is_found() {
    let main = ("tests/it/main.rs", "//! Tests.\nmod a;\nmod b;\n// mod d;\n");
    let files = [
        main,
        ("tests/it/a.rs", "pub(crate) mod deep;"),
        ("tests/it/a/deep.rs", ""),
        ("tests/it/b/mod.rs", ""),
    ];
    assert_eq!(complaints(reached, &files), "");
    for silent in ["tests/it/d.rs", "tests/it/b/deep.rs", "tests/it/deep.rs"] {
        let found = complaints(reached, &[&files[..], &[(silent, "")]].concat());
        assert_eq!(found, format!("{silent} is declared nowhere, so that it never runs"));
    }
}

#[test]
fn an_ignored_test_is_found() {
    let text = format!("//! T.\n#[test]\n    #[{}]\nfn f() {{}}\n", "ignore = \"slow\"");
    assert_eq!(
        complaints(none_ignored, &[("src/a.rs", &text)]),
        "src/a.rs line 3: a test that is ignored is none"
    );
}
