//! Hostile lines, names of applications and names of files, at every exit of the binary. Judges no count.

use std::{fs, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use rustix::fs::inotify;

use super::Home;

/// Escapes for a terminal in every form, text that runs backwards, hidden characters, elements of a page.
const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{200b}\u{2066}\u{e0041}<script>";

/// Applications and contacts that a spreadsheet would calculate and an eye would misread. The file refuses controls.
const HOSTS: &str = "Host,ApplicationName,Contact\n\
    10.0.0.1,\"=cmd|'/c calc'!A1\",@SUM(1)\n\
    10.0.0.2,+\u{202e}evil,-1+\u{200b}1\n\
    10.0.0.3,\"\"\"},{\"\"x\"\":\"\"<script>\",\u{ff1d}1\n";

const FORMATS: [&str; 3] = ["table", "csv", "json"];

fn home() -> Home {
    let home = Home::new();
    let mut log = Vec::new();
    for host in 1..=4 {
        log.extend(line(
            &format!("10.0.0.{host}"),
            &HOSTILE.replace('\u{1b}', "\\x1b").replace('\u{7f}', ""),
        ));
        // As Apache writes bytes beyond ASCII: escaped.
        log.extend(line(&format!("10.0.0.{host}"), "\\x1b[2J\\xc2\\x9b31m\\xe2\\x80\\xae\\x7f"));
    }
    for begin in ["=1+1 ", "10.0.0.1 - - [", "{\"host\":\"", ""] {
        log.extend(format!("{begin}{HOSTILE}\n").into_bytes());
    }
    fs::write(home.path().join(format!("=access{HOSTILE}\n\t.log").replace('/', "")), log).unwrap();
    fs::write(home.path().join("hosts.csv"), HOSTS).unwrap();
    let config = "state_dir = \"state\"\n[produce]\nfiles = [\"*.log\"]\n[analyze]\nreference = \"hosts.csv\"\n\
        [[alarm]]\nname = \"=1\u{202e}\"\nrule = \"* > 0\"\n";
    fs::write(home.path().join("logtally.toml"), config).unwrap();
    home
}

fn line(host: &str, path: &str) -> Vec<u8> {
    format!("{host} - - [24/Oct/2026:22:30:00 +0000] \"GET /{path} HTTP/1.1\" 200 5 \"-\" \"{path}\"\n")
        .into_bytes()
}

/// What a terminal acts on and an eye does not see, counted up here once more; line ends are the format's own.
fn acts(character: char) -> bool {
    let hidden = ['\u{ad}', '\u{61c}', '\u{feff}'].contains(&character)
        || ('\u{200b}'..='\u{200f}').contains(&character)
        || ('\u{2028}'..='\u{202e}').contains(&character)
        || ('\u{2060}'..='\u{206f}').contains(&character)
        || ('\u{e0000}'..='\u{e007f}').contains(&character);
    hidden || (character.is_control() && character != '\n')
}

#[track_caller]
fn harmless(what: &str, bytes: &[u8], format: &str) {
    let text = std::str::from_utf8(bytes).unwrap();
    let found = text.chars().find(|&character| acts(character) && (format != "csv" || character != '\t'));
    assert_eq!(found, None, "{what}: {text:?}");
    match format {
        "json" => {
            for line in text.lines() {
                serde_json::from_str::<serde_json::Value>(line)
                    .unwrap_or_else(|why| panic!("{what}: {why}: {line}"));
                assert!(!line.contains('<'), "{what}: {line}");
            }
        }
        "csv" => {
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
            for record in reader.records() {
                let record = record.unwrap();
                let formula =
                    record.iter().find(|cell| cell.starts_with(['=', '+', '-', '@', '\t', '\n', '\r', '＝']));
                assert_eq!(formula, None, "{what}: {text}");
            }
        }
        _ => {}
    }
}

/// Runs a command; what it prints and says must be harmless, and it must print something.
#[track_caller]
fn exits(home: &Home, line: &[&str], format: &str) {
    let mut command = home.command("");
    let output = command.args(line).env("LOGTALLY_LOG", "debug").output().unwrap();
    let what = line.join(" ");
    assert!(!output.stdout.is_empty(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    harmless(&what, &output.stdout, format);
    harmless(&what, &output.stderr, "table");
}

fn log_of(home: &Home) -> String {
    let logs = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path());
    let log = logs.into_iter().find(|path| path.extension().is_some_and(|end| end == "log")).unwrap();
    log.file_name().and_then(|name| name.to_str()).unwrap().to_owned()
}

#[test]
fn what_replay_and_parse_print_is_harmless() {
    let home = home();
    let log = log_of(&home);
    for format in FORMATS {
        let alarm = ["--alarm", "* > 0", "--format", format, "--window", "1m"];
        exits(&home, &[&["replay", &log][..], &alarm].concat(), format);
    }
    exits(&home, &["parse", &log], "json");
    let refused = home.command("replay").arg(log).arg("--log-format").arg("%h %u %b").output().unwrap();
    assert!(!refused.status.success() && !refused.stderr.is_empty());
    harmless("a refused replay", &refused.stderr, "table");
}

#[test]
fn what_the_pipeline_says_and_keeps_is_shown_harmless() {
    let home = home();
    let run = home.command("run --once").env("LOGTALLY_LOG", "debug").output().unwrap();
    assert!(run.status.success());
    assert!(!run.stderr.is_empty());
    harmless("run", &run.stderr, "table");
    let mut json = home.command("run --once");
    json.envs([("LOGTALLY_LOG", "debug"), ("LOGTALLY_LOG_FORMAT", "json")]);
    harmless("run", &json.output().unwrap().stderr, "table");
    for format in FORMATS {
        for command in ["status", "audit", "report --since 2026-10-24T00:00:00Z", "check", "reference list"] {
            let line: Vec<&str> = command.split(' ').chain(["--format", format]).collect();
            exits(&home, &line, format);
        }
    }
    exits(&home, &["reference", "add", "10.0.0.2", "Billing"], "table");
    assert!(fs::read_to_string(home.path().join("hosts.csv")).unwrap().contains("10.0.0.2,Billing"));
}

#[test]
fn what_is_told_of_files_is_harmless() {
    let home = home();
    let name = format!("gone{HOSTILE}.log").replace('/', "");
    std::os::unix::fs::symlink("/etc/hostname", home.path().join(&name)).unwrap();
    let run = home.command("produce --once").env("LOGTALLY_LOG", "debug").output().unwrap();
    let said = String::from_utf8(run.stderr.clone()).unwrap();
    assert!(said.contains("gone") && said.contains("access"), "{said}");
    harmless("produce", &run.stderr, "table");
    let missing = home.command("replay").arg(Path::new(&format!("none{HOSTILE}"))).output().unwrap();
    assert_eq!(missing.status.code(), Some(74));
    harmless("a missing file", &missing.stderr, "table");
}

#[test]
fn no_path_of_a_log_is_ever_opened() {
    let home = Home::new();
    let canary = home.path().join("canary.txt");
    fs::write(&canary, "10.0.0.9 - - [24/Oct/2026:22:30:00 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n")
        .unwrap();
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, &canary, inotify::WatchFlags::OPEN).unwrap();
    let canary = canary.to_str().unwrap();
    let mut log = Vec::new();
    for path in [canary, &format!("file://{canary}"), &format!("`cat {canary}`"), "../canary.txt", "s3://b/k"]
    {
        log.extend(line("10.0.0.1", path));
        log.extend(
            format!("{path} - - [24/Oct/2026:22:30:00 +0000] \"GET / HTTP/1.1\" 200 5\n").into_bytes(),
        );
        log.extend(format!("{path}\n#include {path}\n@{path}\n-\n").into_bytes());
    }
    fs::write(home.path().join("access.log"), log).unwrap();
    let config = "state_dir = \"state\"\n[produce]\nfiles = [\"*.log\"]\n";
    fs::write(home.path().join("logtally.toml"), config).unwrap();
    for command in ["replay access.log", "parse access.log", "run --once", "status", "check"] {
        let printed = home.result(command);
        assert!(!printed.contains("10.0.0.9"), "{command}: {printed}");
    }
    assert!(!was_opened(&watch));
    drop(fs::File::open(canary).unwrap());
    assert!(was_opened(&watch), "it would be seen");
}

fn was_opened(watch: &OwnedFd) -> bool {
    inotify::Reader::new(watch, &mut [MaybeUninit::uninit(); 1024]).next().is_ok()
}
