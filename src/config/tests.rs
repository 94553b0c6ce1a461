//! What a configuration may say, what it may not, and who wins.

use std::{fs, path::Path};

use super::*;
use crate::config::environment::Environment;

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().copied().collect()
}

fn flag(section: &'static str, key: &'static str, value: &str, origin: &str) -> Override {
    Override {
        section,
        key,
        value: toml::Value::String(value.to_owned()),
        origin: origin.to_owned(),
        weak: false,
    }
}

#[test]
fn the_example_says_the_defaults_and_all_keys() {
    let example = include_str!("../../logtally.example.toml");
    assert_eq!(parse(example).unwrap(), Config::default());
    assert_eq!(parse("").unwrap(), Config::default());

    let uncommented = example
        .replace("# state_dir", "state_dir")
        .replace("# reference =", "reference =")
        .replace("# bucket", "bucket")
        .replace("# checkpoint_interval", "checkpoint_interval")
        .replace("# [[alarm]]", "[[alarm]]")
        .replace("# name", "name")
        .replace("# rule", "rule")
        .replace("# missing", "missing")
        .replace("# webhook", "webhook");
    let all = parse(&uncommented).unwrap();
    assert_eq!(all.alarms.len(), 1);
    assert_eq!(all.analyze.reference.as_deref(), Some("hosts.csv"));
    let table: toml::Table = uncommented.parse().unwrap();
    for key in keys::KEYS {
        let home = match key.section {
            "" => Some(&table),
            "alarm" => table["alarm"][0].as_table(),
            section => table[section].as_table(),
        };
        assert!(home.unwrap().contains_key(key.name), "the example lacks {}", key.name);
    }
}

#[test]
fn unknown_keys_are_refused_with_line_and_suggestion() {
    let messages = [
        refused("pipeline = \"a\"\n\n[produce]\n\n\n[analyze]\nwindw = \"5m\""),
        refused("[analyse]\nwindow = \"5m\""),
        refused("[produce]\nwindow = \"5m\""),
        refused("[analyze]\npipeline = \"a\""),
        refused("window = \"5m\""),
        refused("\n[[alarm]]\nname = \"a\"\nrules = \"Unknown > 1\""),
        refused("[stream]\nqqq.x = 1\nzzz = 1"),
        refused("\"\\u001b[2J\" = 1"),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r#"
    logtally.toml line 7: unknown key "windw" in [analyze]; did you mean "window"?
    logtally.toml line 1: unknown key "analyse"; did you mean "analyze"?
    logtally.toml line 2: unknown key "window" in [produce]; it belongs in [analyze]
    logtally.toml line 2: unknown key "pipeline" in [analyze]; it belongs above the first table
    logtally.toml line 1: unknown key "window"; it belongs in [analyze]
    logtally.toml line 4: unknown key "rules" in [[alarm]]; did you mean "rule"?
    logtally.toml line 2: unknown key "qqq" in [stream]; logtally.example.toml lists all keys
    logtally.toml line 1: unknown key "\u{1b}[2J"; logtally.example.toml lists all keys
    "#);
}

#[test]
fn values_out_of_bounds_are_refused_with_line_and_key() {
    let messages = [
        refused("pipeline = \"a b\""),
        refused("backend = \"azure\""),
        refused("stages = [\"produce\", \"analyse\"]"),
        refused("stages = []"),
        refused("[produce]\nstart = \"middle\""),
        refused("[produce]\nrecord_bytes = \"1MiB\""),
        refused("[produce]\nrecord_lines = 0"),
        refused("[produce]\nrecord_age = \"0s\""),
        refused("[produce]\nfiles = \"/var/log/a.log\""),
        refused("[stream]\nshards = 65"),
        refused("[stream]\nmax_bytes = \"10\""),
        refused("[analyze]\nwindow = \"1500ms\""),
        refused("[analyze]\nwindow = 5"),
        refused("[analyze]\nallowed_lateness = \"-1s\""),
        refused("[analyze]\nfrom = \"latest\""),
        refused("[deliver]\nnamespace = \"AWS/Lambda\""),
        refused("[[alarm]]\nname = \"a\"\nrule = \"x\"\n\n[[alarm]]\nname = \"\"\nrule = \"x\""),
        refused("[[alarm]]\nname = \"a\""),
        refused("[[alarm]]\nname = \"a\"\nrule = \"x\"\n[[alarm]]\nname = \"a\"\nrule = \"y\""),
        refused("alarm = 1"),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r#"
    logtally.toml line 1: pipeline: "a b" cannot name a pipeline; use 1 to 64 letters, digits, "_" and "-"
    logtally.toml line 1: backend: "azure" is not a backend; write "embedded" or "aws"
    logtally.toml line 1: stages: "analyse" is not a stage; write "produce" or "analyze" or "deliver"
    logtally.toml line 1: stages: no stage; name at least one of "produce", "analyze", "deliver"
    logtally.toml line 2: [produce] start: "middle" is not a start; write "beginning" or "end"
    logtally.toml line 2: [produce] record_bytes: "1MiB" is out of bounds: from 1KiB to 512KiB
    logtally.toml line 2: [produce] record_lines: invalid value: integer `0`, expected a whole number from 1 to 4294967295
    logtally.toml line 2: [produce] record_age: "0s" is out of bounds: from 1ms to 1m
    logtally.toml line 2: [produce] files: invalid type: string "/var/log/a.log", expected a list, ["…"]
    logtally.toml line 2: [stream] shards: 65 is out of bounds: from 1 to 64 shards
    logtally.toml line 2: [stream] max_bytes: "10" has no unit; write for example "512KiB" or "10GiB"
    logtally.toml line 2: [analyze] window: a window is a whole number of seconds from 1 s to 24 h, not 1500 ms
    logtally.toml line 2: [analyze] window: invalid type: integer `5`, expected a text in quotes
    logtally.toml line 2: [analyze] allowed_lateness: "-1s" is no duration; write for example "5m", "10s" or "1h30m"
    logtally.toml line 2: [analyze] from: "latest" is not a starting point; write "TRIM_HORIZON" or "NOW" or "LAST_STOPPED_POINT"
    logtally.toml line 2: [deliver] namespace: "AWS/Lambda" cannot be a namespace; use 1 to 255 letters, digits and .-_/#: and do not begin with AWS/
    logtally.toml line 6: [[alarm]] name: "" cannot name an alarm; use 1 to 255 printable characters
    logtally.toml line 1: missing field `rule`
    logtally.toml line 1: two alarms are named "a"; give each a name of its own
    logtally.toml line 1: alarm: invalid type: integer `1`, expected a list, ["…"]
    "#);
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    let messages = [
        refused("pipeline = \"a\"\n[analyze\n"),
        refused("pipeline = \"a\"\npipeline = \"b\""),
        refused("{\"pipeline\": \"a\"}"),
        refused("\u{0}"),
    ];
    insta::assert_snapshot!(messages.join("\n"), @"
    logtally.toml line 2: unclosed table, expected `]`
    logtally.toml line 2: duplicate key
    logtally.toml line 1: invalid key-value pair, expected key
    logtally.toml line 1: key with no value, expected `=`
    ");
}

#[test]
fn a_webhook_is_never_printed() {
    let text = "[[alarm]]\nname = \"a\"\nrule = \"x\"\nwebhook = ";
    let config = parse(&format!("{text}\"https://hooks.example/s3cret\"")).unwrap();
    assert_eq!(config.alarms[0].webhook.as_ref().unwrap().expose(), "https://hooks.example/s3cret");
    assert!(!format!("{config:?}").contains("s3cret"));
    for bad in [
        "\"ftp://s3cret\"",
        "\"https://s3cret\\n\"",
        "[\"s3cret\"]",
        "\"https://s3cret",
        "{ a = \"s3cret\" }",
    ] {
        let message = refused(&format!("{text}{bad}"));
        assert!(!message.contains("s3cret"), "{message}");
        assert!(message.starts_with("logtally.toml line 4"), "{message}");
    }
    for misplaced in [
        "webhook = \"https://s3cret\"",
        "alarm = \"https://s3cret\"",
        "alarm = [\"https://s3cret\"]",
        "alarm = { webhook = \"https://s3cret\" }",
        "[deliver]\nwebhook = \"https://s3cret\"",
        "[[alarm]]\nname = \"a\"\nrule = \"x\"\nwebhok = \"https://s3cret\"",
        "[[alarm]]\nname = \"a\"\nrule = [\"https://s3cret\"]",
        "[[alarm]]\nwebhook = https://s3cret",
        "backend = \"https://s3cret\"",
        "stages = \"https://\\\"s3cret\"",
        "webhook: \"https://s3cret\"",
    ] {
        let message = refused(misplaced);
        assert!(!message.contains("s3cret"), "{misplaced}: {message}");
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("logtally.toml");
    fs::write(&file, "[analyze]\nwindow = \"1m\"\nclient = \"%a\"\ntime = \"arrival\"").unwrap();
    let environment = environment(&[
        ("LOGTALLY_ANALYZE_WINDOW", "2m"),
        ("LOGTALLY_ANALYZE_CLIENT", "%{X-Real-IP}i"),
        ("LOGTALLY_PRODUCE_FILES", "/a.log, /b.log"),
        ("LOGTALLY_PRODUCE_FOLLOW_LINKS", "true"),
        ("LOGTALLY_STREAM_SHARDS", "4"),
        ("LOGTALLY_PIPELINE", ""),
        ("HOME", "/home/a"),
    ]);
    let flags = [flag("analyze", "window", "3m", "--window"), flag("", "state_dir", "state", "--state-dir")];
    let loaded = load(Some(&file), &environment, &flags).unwrap();
    let config = loaded.config;
    assert_eq!(config.analyze.window.as_millis(), 180_000);
    assert_eq!(config.analyze.client, "%{X-Real-IP}i");
    assert_eq!(config.analyze.time, TimeSource::Arrival);
    assert_eq!(config.produce.files, ["/a.log", "/b.log"]);
    assert!(config.produce.follow_links);
    assert_eq!(config.stream.shards, 4);
    assert_eq!(config.pipeline, PipelineName::default());
    assert_eq!(config.state_dir().unwrap(), Path::new("state"));
    assert_eq!(loaded.file.as_deref(), Some(&*file));

    let unflagged = load(Some(&file), &environment, &[]).unwrap().config;
    assert_eq!(unflagged.state_dir().unwrap(), Path::new("/home/a/.local/state/logtally"));
}

#[test]
fn a_bad_variable_or_flag_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    fs::write(&file, "").unwrap();
    let refused = |variables: &[(&str, &str)], flags: &[Override]| {
        load(Some(&file), &environment(variables), flags).unwrap_err().to_string()
    };
    let messages = [
        refused(&[("LOGTALLY_ANALYZE_WINDOW", "5")], &[]),
        refused(&[("LOGTALLY_STREAM_SHARDS", "many")], &[]),
        refused(&[("LOGTALLY_PRODUCE_FOLLOW_LINKS", "yes")], &[]),
        refused(&[("LOGTALLY_STAGES", "produce,delivery")], &[]),
        refused(&[], &[flag("analyze", "window", "2d", "--window")]),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r#"
    LOGTALLY_ANALYZE_WINDOW: "5" has no unit; write for example "5m", "10s" or "1h30m"
    LOGTALLY_STREAM_SHARDS: invalid type: string "many", expected a whole number
    LOGTALLY_PRODUCE_FOLLOW_LINKS: invalid type: string "yes", expected true or false
    LOGTALLY_STAGES: "delivery" is not a stage; write "produce" or "analyze" or "deliver"
    --window: a window is a whole number of seconds from 1 s to 24 h, not 172800000 ms
    "#);
}

#[test]
fn relative_paths_count_from_the_files_directory() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("a[b]");
    fs::create_dir(&home).unwrap();
    let file = home.join("logtally.toml");
    let text = "state_dir = \"state\"\n[produce]\nfiles = [\"logs/*.log\", \"/abs.log\", \"-\"]\n\
                exclude = [\"*.gz\", \"old/*\"]\n[analyze]\nreference = \"hosts.csv\"";
    fs::write(&file, text).unwrap();
    let config = load(Some(&file), &Environment::default(), &[]).unwrap().config;
    let base = dir.path().display();
    assert_eq!(config.state_dir().unwrap(), home.join("state"));
    assert_eq!(config.analyze.reference.unwrap(), format!("{base}/a[b]/hosts.csv"));
    assert_eq!(config.produce.files, [&format!("{base}/a[[]b[]]/logs/*.log"), "/abs.log", "-"]);
    assert_eq!(config.produce.exclude, ["*.gz", &format!("{base}/a[[]b[]]/old/*")]);

    fs::write(&file, "[analyze]\nreference = \"s3://bucket/hosts.csv\"").unwrap();
    let remote = load(Some(&file), &Environment::default(), &[]).unwrap().config;
    assert_eq!(remote.analyze.reference.unwrap(), "s3://bucket/hosts.csv");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let message = |path: &Path| {
        let error = load(Some(path), &Environment::default(), &[]).unwrap_err();
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        format!("{error}{cause}").replace(&dir.path().display().to_string(), "DIR")
    };
    let file = dir.path().join("c.toml");
    let mut messages = vec![message(&file), message(dir.path())];
    fs::write(&file, b"pipeline = \"a\"\n# caf\xe9\n").unwrap();
    messages.push(message(&file));
    fs::write(&file, "#".repeat(usize::try_from(MAX_FILE).unwrap() + 1)).unwrap();
    messages.push(message(&file));
    insta::assert_snapshot!(messages.join("\n"), @"
    cannot read the configuration DIR/c.toml: No such file or directory (os error 2)
    cannot read the configuration DIR: Is a directory (os error 21)
    DIR/c.toml line 2: a byte that is not UTF-8; save the file as UTF-8
    cannot read the configuration DIR/c.toml: it is over 1 MiB, which no configuration is
    ");

    let named = environment(&[("LOGTALLY_CONFIG", "/nowhere/c.toml")]);
    assert!(load(None, &named, &[]).unwrap_err().to_string().contains("/nowhere/c.toml"));
}

#[test]
fn without_a_home_the_state_directory_is_asked_for() {
    let message = Config::default().state_dir().unwrap_err().to_string();
    insta::assert_snapshot!(message, @"no state directory: give --state-dir, set state_dir in logtally.toml, or set HOME");
}
