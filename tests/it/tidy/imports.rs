//! Who may name whom. Looks at code that is shipped, not at tests or comments.

use super::{
    complaints,
    source::{File, is_for_tests},
};

/// Who may name whom, as DESIGN.md §8 has it, and what came with the modules that it does not list (`cli`, `clock`,
/// `alarms`, `audit`, `blocking`, `random`,
/// `parse`, `reference`, `stop`, `webhook`). A module may always name itself; `lib.rs` only declares.
const RULES: [(&str, &[&str]); 25] = [
    ("main", &["app", "cli", "config", "telemetry"]),
    (
        "app",
        &[
            "alarms",
            "analyze",
            "audit",
            "backend",
            "backend::aws",
            "backend::embedded",
            "cli",
            "clock",
            "config",
            "deliver",
            "engine",
            "parse",
            "produce",
            "reference",
            "render",
            "replay",
            "report",
            "stop",
            "tail",
            "webhook",
        ],
    ),
    ("cli", &["config", "engine", "render"]),
    ("config", &["engine"]),
    ("telemetry", &[]),
    ("clock", &["engine"]),
    ("random", &[]),
    ("blocking", &[]),
    ("engine", &[]),
    ("tail", &["engine", "clock"]),
    ("produce", &["tail", "backend", "blocking", "engine", "clock", "stop"]),
    ("analyze", &["backend", "blocking", "engine", "stop"]),
    ("deliver", &["backend", "engine", "stop"]),
    ("alarms", &["backend", "backend::embedded", "engine", "clock", "stop"]),
    ("audit", &["backend", "backend::embedded", "engine", "tail"]),
    ("stop", &[]),
    ("replay", &["tail", "engine"]),
    ("report", &["backend", "engine"]),
    ("reference", &["backend", "engine"]),
    ("parse", &["engine", "render"]),
    ("webhook", &["engine", "render"]),
    ("render", &["engine"]),
    ("backend", &["engine", "random", "stop"]),
    ("backend::embedded", &["backend", "engine", "clock", "config"]),
    // A producer's positions stay on its machine, whatever the backend.
    ("backend::aws", &["backend", "backend::embedded", "engine", "clock", "config"]),
];

/// The binaries beside `main`.
const BINARIES: &[&str] = &["app", "config", "telemetry"];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let shipped = |file: &&File| file.is_rust() && file.path.starts_with("src/") && file.path != "src/lib.rs";
    let shipped = files.iter().filter(shipped).filter(|file| !is_for_tests(file, files));
    shipped.flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<String> {
    let home: Vec<&str> = module_of(&file.path);
    let ours = owner(&home);
    let allowed = match RULES.iter().find(|(module, _)| *module == ours) {
        _ if home.first() == Some(&"bin") => BINARIES,
        Some((_, allowed)) => *allowed,
        None => {
            return vec![format!("{}: module {ours} has no rule; add one to RULES", file.path)];
        }
    };
    let mut complaints = Vec::new();
    for (at, path) in named(&file.code(), &home) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let theirs = owner(&path);
        let complaint = match theirs.as_str() {
            "" | "*" | "self" => format!("{ours} names the whole crate; name a module"),
            same if same == ours => continue,
            other if allowed.contains(&other) => continue,
            _ => format!("{ours} may not name {theirs}"),
        };
        complaints.push(format!("{} line {}: {complaint}", file.path, file.line(at)));
    }
    complaints
}

/// `src/backend/embedded/log.rs` → `backend`, `embedded`, `log`.
fn module_of(path: &str) -> Vec<&str> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').filter(|part| *part != "mod").collect()
}

/// The module of [`RULES`] to which a path in the crate belongs.
fn owner(path: &[&str]) -> String {
    match path {
        ["backend", backend @ ("embedded" | "aws"), ..] => format!("backend::{backend}"),
        [first, ..] => (*first).to_owned(),
        [] => String::new(),
    }
}

/// Every path into the crate that `code` in the module `home` names, and where.
fn named(code: &str, home: &[&str]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (root, keyword) in [("crate", true), ("logtally", true), ("super", false)] {
        for (at, _) in code.match_indices(root) {
            let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
            let before = code.as_bytes()[..at].last().copied();
            let behind = code.as_bytes().get(at + root.len()).copied();
            if before.is_some_and(inside) || behind.is_some_and(|byte| inside(byte) && byte != b':') {
                continue;
            }
            let base: &[&str] = if keyword { &[] } else { home };
            let mut paths = Vec::new();
            expand(&code[at..], &mut Vec::new(), &mut paths);
            let paths = paths.into_iter().filter_map(|path| resolve(&path, base));
            found.extend(
                paths
                    .filter(|path| !path.is_empty() || root == "crate" && behind == Some(b':'))
                    .map(|path| (at, path)),
            );
        }
    }
    found
}

/// The path from the crate's root; nothing where it is only `crate` (as in `pub(crate)`).
fn resolve(path: &[String], home: &[&str]) -> Option<Vec<String>> {
    let up = path.iter().take_while(|part| *part == "super").count();
    let rest = path.iter().skip(up.max(1)).cloned();
    let base = home.iter().take(home.len().saturating_sub(up)).map(|part| (*part).to_owned());
    (path.len() > 1).then(|| base.chain(rest).collect())
}

/// The paths of the use tree or plain path that `text` begins with; returns how much of it that was.
pub(super) fn expand(text: &str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
    let (depth, mut at) = (prefix.len(), 0);
    loop {
        at += blanks(&text[at..]);
        let name: String =
            text[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '*').collect();
        at += name.len();
        if !name.is_empty() {
            prefix.push(name);
        }
        if text[at..].starts_with('{') {
            at += 1;
            while !text[at..].is_empty() && !text[at..].starts_with('}') {
                let taken = expand(&text[at..], prefix, paths);
                at += taken;
                // Behind an element: a comma, `as name`, or the end.
                let rest = text[at..].find([',', '}']).unwrap_or(text.len() - at);
                at += rest + usize::from(text[at + rest..].starts_with(','));
                at += blanks(&text[at..]);
            }
            at = (at + 1).min(text.len());
            break;
        }
        if !text[at..].starts_with("::") {
            paths.push(prefix.clone());
            break;
        }
        at += 2;
    }
    prefix.truncate(depth);
    at
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

#[test]
fn bad_imports_are_found() {
    let found = |path: &str, code: &str| complaints(check, &[(path, code)]);
    for (path, code) in [
        ("src/render/table.rs", "use crate::config::Config;"),
        ("src/render/table.rs", "use crate::{engine::row::Row, config};"),
        (
            "src/render/table.rs",
            "use crate::{\n    engine::{row::{Row, UNKNOWN}, time::Timestamp},\n    config::{Config as C},\n};",
        ),
        ("src/render/table.rs", "fn f() -> crate::config::Config {}"),
        ("src/render.rs", "use super::config::Config;"),
        ("src/render/table.rs", "use super::super::config;"),
        ("src/produce.rs", "use crate::backend::embedded::Embedded;"),
        ("src/produce.rs", "use crate::backend::{Stream, embedded::{self}};"),
        ("src/backend/mod.rs", "use crate::clock::Clock;"),
        ("src/backend/embedded/mod.rs", "use crate::backend::aws::Aws;"),
        ("src/engine/window.rs", "use crate::clock::Clock;"),
        ("src/telemetry.rs", "use crate::render::text;"),
        ("src/main.rs", "use logtally::{app, engine};"),
        ("src/bin/logtally-lambda.rs", "use logtally::tail::Tail;"),
        ("src/engine/window.rs", "use crate::*;"),
        ("src/engine/window.rs", "use crate::{self as all};"),
        ("src/novel.rs", "fn f() {}"),
    ] {
        assert!(!found(path, code).is_empty(), "{path}: {code}");
    }
    assert_eq!(
        found("src/render/table.rs", "//! Doc.\n\nuse crate::{engine::row::Row, config};"),
        "src/render/table.rs line 3: render may not name config"
    );
}

#[test]
fn good_imports_are_left_alone() {
    for (path, code) in [
        ("src/render/table.rs", "use crate::{engine::{row::Row, time::Timestamp}, render::{Cell, text}};"),
        ("src/render/table.rs", "use super::Report; pub(crate) fn f() {} pub(super) fn g() {}"),
        ("src/render/table.rs", "//! crate::config\nfn f() { g(\"crate::config\") }"),
        ("src/render/table.rs", "#[cfg(test)]\nmod tests { use crate::config; }"),
        ("src/produce.rs", "use crate::{backend::{Backend, StreamWriter as Writer}, tail::Tail};"),
        ("src/backend/embedded/mod.rs", "use crate::backend::{Backend, embedded::store::Store};"),
        ("src/main.rs", "use logtally::{app::{self, Exit}, cli::Cli}; const N: &str = logtally_name();"),
        ("src/lib.rs", "pub mod anything;"),
        (
            "src/engine/window.rs",
            "use std::fmt; pub(in crate::engine) struct W; macro_rules! m { () => { $crate::engine::x } }",
        ),
    ] {
        assert_eq!(complaints(check, &[(path, code)]), "", "{path}: {code}");
    }
}
