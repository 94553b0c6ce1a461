//! The command as a user meets it: help, usage errors, configuration errors, exit codes. Counts nothing.

mod agent;
mod audit;
mod audit_windows;
mod bad_input;
mod hostile;
mod pipeline;
mod shuffled;

use std::{
    fs, io,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

/// A directory of its own in which `logtally` runs with no environment but a home.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logtally"));
        command.args(line.split_whitespace()).env_clear().env("HOME", self.path());
        command.current_dir(self.path());
        command
    }

    /// The exit code and what was said on standard error.
    fn refusal(&self, line: &str) -> String {
        told(&self.command(line).output().unwrap())
    }

    fn result(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap();
        assert!(output.status.success(), "{line}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn told(output: &Output) -> String {
    let code = output.status.code().map_or("killed".to_owned(), |code| code.to_string());
    format!("{code} {}", String::from_utf8_lossy(&output.stderr))
}

fn commands() -> Vec<String> {
    let description = logtally::cli::Cli::description();
    description.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

#[test]
fn help_of_every_command() {
    let home = Home::new();
    let mut help = home.result("-h");
    for command in commands() {
        help = format!("{help}\n━━ {command}\n\n{}", home.result(&format!("{command} -h")));
    }
    for action in ["add", "remove", "list"] {
        help = format!("{help}\n━━ reference {action}\n\n{}", home.result(&format!("reference {action} -h")));
    }
    insta::assert_snapshot!(help);
}

#[test]
fn every_command_has_a_purpose_of_one_line_and_examples_that_parse() {
    for command in logtally::cli::Cli::description().get_subcommands() {
        let name = command.get_name();
        let about = command.get_about().unwrap().to_string();
        assert!(!about.is_empty() && !about.contains('\n') && about.len() < 80, "{name}: {about}");
        let examples = command.get_after_help().unwrap().to_string();
        assert!(examples.starts_with("Examples:\n"), "{name}");
        let lines: Vec<&str> = examples.lines().filter(|line| line.starts_with("  ")).collect();
        assert!(!lines.is_empty(), "{name}");
        for line in lines {
            super::tidy::parse_command(line).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn a_command_line_that_cannot_be_understood_is_64() {
    let home = Home::new();
    let refusals = [
        "rub",
        "replay",
        "replay a --window 5",
        "run --from LATEST",
        "reference add 10.0.0.1",
        "replay a --top 0",
    ];
    let refusals: Vec<String> = refusals.map(|line| home.refusal(line)).into();
    insta::assert_snapshot!(refusals.join("\n"), @r#"
    64 error: unrecognized subcommand 'rub'

      tip: a similar subcommand exists: 'run'

    Usage: logtally [OPTIONS] <COMMAND>

    For more information, try '--help'.

    64 error: the following required arguments were not provided:
      <FILES>...

    Usage: logtally replay <FILES>...

    For more information, try '--help'.

    64 error: invalid value '5' for '--window <DURATION>': "5" has no unit; write for example "5m", "10s" or "1h30m"

    For more information, try '--help'.

    64 error: invalid value 'LATEST' for '--from <POINT>'
      [possible values: TRIM_HORIZON, NOW, LAST_STOPPED_POINT]

    For more information, try '--help'.

    64 error: the following required arguments were not provided:
      <APPLICATION>

    Usage: logtally reference add <HOST> <APPLICATION> [CONTACT]

    For more information, try '--help'.

    64 error: invalid value '0' for '--top <N>': 0 is not in 1..=1000

    For more information, try '--help'.
    "#);
    let nothing = home.command("").output().unwrap();
    assert_eq!(nothing.status.code(), Some(64));
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("Usage: logtally"));
}

#[test]
fn a_configuration_that_cannot_be_used_is_78() {
    let home = Home::new();
    let mut refusals = vec![home.refusal("status --config missing.toml"), home.refusal("status --config .")];
    fs::write(home.path().join("logtally.toml"), "# mine\n\n\n\n\n[analyze]\nwindw = \"5m\"\n").unwrap();
    refusals.push(home.refusal("status"));
    fs::write(home.path().join("other.toml"), "pipeline = 5").unwrap();
    refusals.push(home.refusal("status --config other.toml"));
    for (name, value) in
        [("LOGTALLY_CONFIG", "other.toml"), ("LOGTALLY_LOG", "logtally=loud"), ("LOGTALLY_LOG_FORMAT", "xml")]
    {
        refusals.push(told(&home.command("status").env(name, value).output().unwrap()));
    }
    insta::assert_snapshot!(refusals.join(""), @r#"
    78 logtally: cannot read the configuration missing.toml: No such file or directory (os error 2)
    78 logtally: cannot read the configuration .: Is a directory (os error 21)
    78 logtally: logtally.toml line 7: unknown key "windw" in [analyze]; did you mean "window"?
    78 logtally: other.toml line 1: pipeline: invalid type: integer `5`, expected a text in quotes
    78 logtally: other.toml line 1: pipeline: invalid type: integer `5`, expected a text in quotes
    78 logtally: "logtally=loud" is no filter for diagnostics; write for example "logtally=debug" in LOGTALLY_LOG: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
    78 logtally: LOGTALLY_LOG_FORMAT is "xml"; write "text" or "json"
    "#);
}

#[test]
fn a_bad_configuration_keeps_nobody_from_the_manual() {
    let home = Home::new();
    fs::write(home.path().join("logtally.toml"), "nonsense").unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.result(&format!("completions {shell}"));
        for command in commands() {
            assert!(script.contains(&command), "{shell} lacks {command}");
        }
    }
    assert!(home.result("man").contains(".TH logtally 1"));
    assert!(home.result("--version").starts_with("logtally "));
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let home = Home::new();
    home.result("man --out share/man1");
    let dir = home.path().join("share/man1");
    let main = fs::read_to_string(dir.join("logtally.1")).unwrap();
    assert!(main.contains("Who is calling my applications"));
    for command in commands() {
        assert!(dir.join(format!("logtally-{command}.1")).is_file(), "{command}");
    }
    fs::write(home.path().join("file"), "").unwrap();
    let refusal = home.refusal("man --out file");
    insta::assert_snapshot!(refusal, @"74 logtally: cannot write manual pages to file: File exists (os error 17)");
}

#[test]
fn a_reader_that_left_is_no_error_and_a_full_disk_is_one() {
    let home = Home::new();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let left = home.command("completions zsh").stdout(writer).output().unwrap();
    assert_eq!(told(&left), "0 ");

    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let refused = home.command("completions zsh").stdout(full).output().unwrap();
    insta::assert_snapshot!(told(&refused), @"74 logtally: cannot write to standard output: No space left on device (os error 28)");
}

#[test]
fn a_variable_that_nothing_reads_is_warned_of() {
    let home = Home::new();
    let output = home.command("status").env("LOGTALLY_ANALYZE_WINDW", "1m").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("WARN") && stderr.contains("did you mean LOGTALLY_ANALYZE_WINDOW?"), "{stderr}");
    let json =
        home.command("status").envs([("LOGTALLY_X", "1"), ("LOGTALLY_LOG_FORMAT", "json")]).output().unwrap();
    let line = String::from_utf8(json.stderr).unwrap();
    let event: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!(event["level"], "WARN");
}
