//! The tests and the constants that docs/guarantees.md names exist. Runs no test, and reads no other document.

use std::collections::BTreeSet;

use super::{complaints, source::File};

const DOCUMENT: &str = "docs/guarantees.md";

/// What stands in backticks there and is a path, `module::test_name` or `module::CONSTANT`, is one of the house.
pub(super) fn check(files: &[File]) -> Vec<String> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        return vec![format!("{DOCUMENT} is missing")];
    };
    let known: BTreeSet<String> = files.iter().filter(|file| file.is_rust()).flat_map(names).collect();
    let mut complaints = Vec::new();
    for (number, line) in document.text.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2).filter(|text| is_path(text)) {
            if !known.contains(name) {
                complaints.push(format!("{DOCUMENT} line {}: there is no {name}", number + 1));
            }
        }
    }
    complaints
}

fn is_path(text: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    text.contains("::") && text.split("::").all(word)
}

/// The tests and constants of a file, by their paths.
fn names(file: &File) -> Vec<String> {
    let mut modules = vec![module_of(&file.path)];
    let (mut names, mut is_test) = (Vec::new(), false);
    for line in file.text.lines() {
        let code = line.trim_start();
        let indented = line.len() - code.len();
        let item =
            code.strip_prefix("pub ").or_else(|| code.strip_prefix("pub(")?.split_once(") ").map(|p| p.1));
        let item = item.unwrap_or(code);
        if let Some(name) = item.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
            modules.push(name.to_owned());
        } else if line == "}" && indented == 0 {
            modules.truncate(1);
        } else if code.starts_with("#[test]") || code.starts_with("#[tokio::test") {
            is_test = true;
        }
        // A part of the contract, which a macro makes a test of for each backend.
        is_test |= code.contains("(place: &impl Place)");
        let name = match item.strip_prefix("const ") {
            Some(rest) => rest.split_once(':').map(|(name, _)| name),
            None if is_test => {
                item.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')).map(|(name, _)| name)
            }
            None => None,
        };
        if let Some(name) = name {
            let path = modules.iter().map(String::as_str).filter(|module| !module.is_empty());
            names.push(path.chain([name]).collect::<Vec<_>>().join("::"));
            is_test = false;
        }
    }
    names
}

/// `tests/it/tail/bounds.rs` → `tail::bounds`, `src/engine/mod.rs` → `engine`.
fn module_of(path: &str) -> String {
    let inside = path.strip_prefix("src/").or_else(|| path.strip_prefix("tests/it/")).unwrap_or(path);
    let parts = inside.trim_end_matches(".rs").split('/');
    parts.filter(|part| !["mod", "lib", "main"].contains(part)).collect::<Vec<_>>().join("::")
}

#[test]
fn a_guarantee_without_its_test_is_found() {
    let code = "//! A.\npub(crate) const MOST: usize = 1;\n\nfn helper() {}\n\nmod tests {\n    #[test]\n    fn past_it() {}\n\n    \
                #[tokio::test(flavor = \"x\")]\n    async fn later() {}\n}\n\npub(crate) async fn part(place: &impl Place) {}\n\n#[test]\nfn outside() {}\n";
    let check = |document: &str| {
        complaints(check, &[("src/engine/a.rs", code), ("tests/it/b/mod.rs", code), (DOCUMENT, document)])
    };
    let good = "`engine::a::MOST` `engine::a::tests::past_it` `engine::a::tests::later` `b::part` `b::outside` `logtally audit`";
    assert_eq!(check(good), "");
    for bad in ["engine::a::past_it", "engine::a::LEAST", "b::helper", "b::tests::outside", "b::gone"] {
        assert_eq!(check(&format!("x\n| `{bad}` |")), format!("{DOCUMENT} line 2: there is no {bad}"));
    }
    assert_eq!(complaints(super::guarantees::check, &[]), format!("{DOCUMENT} is missing"));
}
