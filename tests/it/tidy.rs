//! The house rules of DESIGN.md §8, which the compiler does not hold. Each check is a function from files to
//! complaints, and is itself tested on small bad examples: a check that cannot fail is none.

mod commands;
mod guarantees;
mod imports;
mod layout;
mod purity;
mod source;

pub(crate) use commands::parse as parse_command;

use source::File;

/// Runs `check` on the whole house.
#[track_caller]
fn hold(check: impl Fn(&[File]) -> Vec<String>) {
    let complaints = check(&File::all());
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// What `check` says about a house of these files.
fn complaints(check: impl Fn(&[File]) -> Vec<String>, files: &[(&str, &str)]) -> String {
    let files: Vec<File> = files.iter().map(|(path, text)| File::new(path, text)).collect();
    check(&files).join("\n")
}

#[test]
fn modules_name_only_whom_they_may() {
    hold(imports::check);
}

#[test]
fn the_engine_is_pure() {
    hold(purity::check);
}

#[test]
fn files_are_short_and_open_with_their_purpose() {
    hold(layout::short_and_opened);
}

#[test]
fn both_backends_have_the_same_files() {
    hold(layout::twin_backends);
}

#[test]
fn every_file_of_tests_is_reached() {
    hold(layout::reached);
}

#[test]
fn no_test_is_ignored() {
    hold(layout::none_ignored);
}

#[test]
fn the_commands_of_the_documentation_exist() {
    hold(commands::check);
}

#[test]
fn what_guarantees_are_shown_by_exists() {
    hold(guarantees::check);
}

#[test]
fn the_house_is_looked_at() {
    let files = File::all();
    for path in
        ["src/lib.rs", "src/engine/time.rs", "tests/it/main.rs", "tests/it/tidy/source.rs", "README.md"]
    {
        assert!(files.iter().any(|file| file.path == path), "{path} was not found");
    }
}
