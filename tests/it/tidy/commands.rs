//! The commands that the documentation shows are commands of the program. Runs none of them.

use clap::Parser;
use logtally::cli::Cli;

use super::{complaints, source::File};

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_markdown()) {
        let mut fenced = false;
        let mut commands = 0;
        for (number, line) in file.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if fenced {
                match parse(line) {
                    Ok(found) => commands += found,
                    Err(error) => complaints.push(format!("{} line {}: {error}", file.path, number + 1)),
                }
            }
        }
        if file.path == "README.md" && commands == 0 {
            complaints.push("README.md shows no command".to_owned());
        }
    }
    complaints
}

/// Parses every `logtally …` and `cargo run … -- …` of a line of shell; returns how many there were.
pub(crate) fn parse(line: &str) -> Result<usize, String> {
    let line = line.trim().trim_start_matches("$ ");
    let mut parsed = 0;
    for words in commands(line) {
        let arguments = match words.first().map(String::as_str) {
            Some("logtally") => &words[1..],
            Some("cargo") if words.get(1).is_some_and(|word| word == "run") => {
                let behind = words.iter().position(|word| word == "--");
                behind.map_or(&[][..], |at| &words[at + 1..])
            }
            _ => continue,
        };
        let line = std::iter::once("logtally").chain(arguments.iter().map(String::as_str));
        match Cli::try_parse_from(line) {
            Ok(_) => parsed += 1,
            Err(error) if !error.use_stderr() => parsed += 1,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(parsed)
}

/// The words of each command of a line: quotes are understood; two blanks, `#` and `>` end what is looked at.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut word, mut quote) = (vec![Vec::new()], String::new(), None);
    let mut skipping = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some('"'), '\\') => word.extend(characters.next()),
            (None, '\'' | '"') => quote = Some(character),
            (None, '#') if word.is_empty() => break,
            (None, ' ' | '|' | '&' | ';' | '>' | '<') => {
                if !word.is_empty() && !skipping {
                    commands.last_mut().unwrap().push(word);
                }
                word = String::new();
                match character {
                    ' ' if characters.peek() == Some(&' ') => break,
                    ' ' => {}
                    '>' | '<' => skipping = true,
                    _ => {
                        skipping = false;
                        commands.push(Vec::new());
                    }
                }
            }
            (Some(_) | None, _) => word.push(character),
        }
    }
    if !word.is_empty() && !skipping {
        commands.last_mut().unwrap().push(word);
    }
    // An example has arguments of its own.
    commands.retain(|words| !words.iter().any(|word| word == "--example"));
    commands
}

#[test]
fn commands_that_do_not_exist_are_found() {
    let readme =
        "# R\n\nlogtally nonsense\n```sh\nlogtally nonsense\ncargo run --release -- replay --nope x\n```\n";
    let found = complaints(check, &[("README.md", readme)]);
    assert!(found.contains("README.md line 5: error: unrecognized subcommand 'nonsense'"), "{found}");
    assert!(found.contains("README.md line 6: error: unexpected argument '--nope'"), "{found}");
    assert!(!found.contains("line 3"), "{found}");
    assert_eq!(complaints(check, &[("README.md", "# Nothing")]), "README.md shows no command");
}

#[test]
fn a_line_of_shell_is_taken_apart() {
    for (line, count) in [
        ("$ logtally replay 'my log' --alarm \"Unknown > 100\" | head", 1),
        ("zcat a.gz | logtally produce -    standard input", 1),
        ("logtally check && logtally run", 2),
        ("logtally replay a > rows.csv", 1),
        ("logtally --help", 1),
        ("cargo run --release -- replay a.log --reference h.csv", 1),
        ("cargo test", 0),
        ("# logtally nonsense", 0),
        ("cargo run --release --example generate -- --lines 7", 0),
    ] {
        assert_eq!(parse(line), Ok(count), "{line}");
    }
    assert!(parse("true && logtally nonsense").is_err());
    assert!(parse("logtally replay").is_err());
}
