//! The engine is pure: bytes in, rows out (DESIGN.md, invariant 8). Tests of the engine may read fixtures.

use super::{
    complaints,
    imports::expand,
    source::{File, is_for_tests},
};

/// Words that no pure code says.
const WORDS: [&str; 8] =
    ["async", "await", "Instant", "SystemTime", "Utc::now", "Local::now", "rand", "RandomState"];

/// Modules of the standard library that reach out.
const MODULES: [&str; 5] = ["env", "fs", "net", "process", "thread"];

/// Crates that reach out.
const CRATES: [&str; 8] =
    ["getrandom", "indicatif", "notify", "rusqlite", "rustix", "tokio", "tracing", "ureq"];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let pure = files.iter().filter(|file| file.is_rust() && file.path.starts_with("src/engine/"));
    pure.filter(|file| !is_for_tests(file, files)).flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<String> {
    let code = file.code();
    let complain =
        |at: usize, what: &str| format!("{} line {}: the engine is pure: {what}", file.path, file.line(at));
    let mut complaints = Vec::new();
    for word in WORDS {
        complaints.extend(words(&code, word).map(|at| complain(at, word)));
    }
    for name in CRATES {
        let used = words(&code, name).filter(|at| code[at + name.len()..].trim_start().starts_with("::"));
        complaints.extend(used.map(|at| complain(at, name)));
    }
    for at in words(&code, "std") {
        let mut paths = Vec::new();
        expand(&code[at..], &mut Vec::new(), &mut paths);
        let reaching = paths.iter().filter(|path| reaches_out(path));
        complaints.extend(reaching.map(|path| complain(at, &path.join("::"))));
    }
    complaints
}

/// Whether a path of the standard library leads out of the program; addresses, which are only numbers, do not.
fn reaches_out(path: &[String]) -> bool {
    let [_, module, rest @ ..] = path else {
        return false;
    };
    let is_address = rest.first().is_some_and(|item| item.starts_with("Ip") || item == "AddrParseError");
    MODULES.contains(&module.as_str()) && !(module == "net" && is_address)
}

/// Where `word` stands by itself.
fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> {
    let inside = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let (before, behind) = (&code.as_bytes()[..at], &code.as_bytes()[at + word.len()..]);
        !inside(before.last()) && !inside(behind.first())
    })
}

#[test]
fn impure_code_is_found() {
    for code in [
        "pub async fn f() {}",
        "fn f() { std::fs::read(\"x\"); }",
        "use std::{collections::HashMap, fs};",
        "use std::{\n    fmt,\n    env::{self, var},\n};",
        "use std::net::{IpAddr, TcpStream};",
        "use std::net;",
        "use std::time::Instant;",
        "use std::time::{Duration, SystemTime};",
        "fn f() { rand::random() }",
        "use tokio::sync::mpsc;",
        "fn f() { getrandom::fill(&mut x); }",
        "fn f() { std::thread::sleep(d) }",
        "fn f() { chrono::Utc::now() }",
    ] {
        assert!(!complaints(check, &[("src/engine/x.rs", code)]).is_empty(), "{code}");
    }
    assert_eq!(
        complaints(check, &[("src/engine/x/y.rs", "\nuse std::fs;")]),
        "src/engine/x/y.rs line 2: the engine is pure: std::fs"
    );
}

#[test]
fn pure_code_and_its_tests_are_left_alone() {
    let pure = "//! No async, std::fs or Instant.\nuse std::{fmt, net::IpAddr, time::Duration};\nfn operand(brand: u8) {}\n\
                #[cfg(test)]\nmod tests { use std::fs; }";
    assert_eq!(complaints(check, &[("src/engine/x.rs", pure)]), "");
    assert_eq!(complaints(check, &[("src/tail/x.rs", "use std::fs;")]), "");
}
