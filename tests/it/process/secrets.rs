//! Secrets of the configuration and the environment, looked for wherever the binary writes. Knows no AWS.

use std::{fs, path::Path};

use super::{
    alarm::receiver,
    home::{CONFIG, Home},
    load::lines,
};

/// Stands in every secret.
const SECRET: &str = "s3cret";
/// Where nobody listens.
const NOBODY: &str = "127.0.0.1:9";

/// A home whose alarm goes off at once and calls `place`, with all diagnostics there are.
fn home(place: &str, format: &str) -> Home {
    let webhook = format!("http://u{SECRET}:p{SECRET}@{place}/T0/{SECRET}?key={SECRET}");
    let alarm =
        format!("\n[[alarm]]\nname = \"strangers\"\nrule = \"Unknown > 20\"\nwebhook = \"{webhook}\"\n");
    let config = CONFIG.replace("allowed_lateness = \"0s\"", "allowed_lateness = \"2s\"") + &alarm;
    let secret = |name: &str| (name.to_owned(), format!("x{SECRET}"));
    let mut environment: Vec<(String, String)> =
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "LOGTALLY_UNKNOWN", "TOKEN"]
            .map(secret)
            .into();
    let proxy = format!("http://u:{SECRET}@{NOBODY}");
    environment.extend(
        [
            ("HTTPS_PROXY", proxy.as_str()),
            ("AWS_ENDPOINT_URL", proxy.as_str()),
            ("LOGTALLY_LOG", "trace"),
            ("LOGTALLY_LOG_FORMAT", format),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    Home::with_environment(&config, environment)
}

/// The files below `directory` that hold the secret.
fn leaks(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(leaks(&path));
        } else if memchr::memmem::find(&fs::read(&path).unwrap(), SECRET.as_bytes()).is_some() {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Runs the pipeline until its webhook was called and `said`, and looks for secrets everywhere.
fn nothing_leaks(place: &str, format: &str, said: &str) {
    let home = home(place, format);
    let process = home.start("run");
    home.until(said, || {
        home.log(&lines("stranger.example.net", 30));
        home.said().contains(said)
    });
    for of_process in ["cmdline", "comm"] {
        let shown = fs::read_to_string(format!("/proc/{}/{of_process}", process.id())).unwrap();
        assert!(shown.contains("logtally") && !shown.contains(SECRET), "{shown}");
    }
    process.stop();
    for command in ["status", "audit --format json", "report", "check", "status -vv", "nonsense"] {
        let ended = home.ended(command);
        let shown = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!shown.is_empty() && !shown.contains(SECRET), "{command}: {shown}");
    }
    assert!(!home.said().contains(SECRET), "{}", home.said());
    assert_eq!(leaks(&home.path("state")), Vec::<String>::new());
    assert_eq!(leaks(home.path("logtally.toml").parent().unwrap()).len(), 1, "it would be found");
}

#[test]
fn a_webhook_that_is_called_shows_no_secret() {
    for format in ["text", "json"] {
        let (url, _notifications) = receiver();
        let place = url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        nothing_leaks(&place, format, "webhook: delivered");
    }
}

#[test]
fn a_webhook_that_nobody_answers_shows_no_secret() {
    for format in ["text", "json"] {
        nothing_leaks(NOBODY, format, "webhook: failed");
    }
}

#[test]
fn a_configuration_that_is_refused_shows_no_secret() {
    for wrong in [
        format!("[[alarm]]\nname = \"a\"\nrule = \"Unknown > 1\"\nwebhook = \"ftp://{SECRET}\"\n"),
        format!("[[alarm]]\nname = \"a\"\nrule = \"Unknown > 1\"\nwebhook = \"https://:{SECRET}@\"\n"),
        format!("[deliver]\nwebhook = \"https://{SECRET}\"\n"),
    ] {
        let home = Home::with(&format!("state_dir = \"state\"\n{wrong}"));
        for command in ["deliver --once", "check", "status -vv"] {
            let ended = home.ended(command);
            let shown = format!("{}{}", ended.stdout, ended.stderr);
            assert_ne!(ended.code, Some(0), "{command}: {shown}");
            assert!(!shown.contains(SECRET), "{command}: {shown}");
        }
    }
}
