//! Credentials for AWS, looked for wherever the binary writes, whether calls succeed or fail. Checks no signature.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use super::double::{INPUT, Kinesis};

/// Stands in every secret.
const SECRET: &str = "S3CRET";

struct Home(TempDir);

impl Home {
    /// A configuration for AWS, and one of an agent with credentials and an endpoint of their own.
    fn new(endpoint: &str) -> Self {
        let home = Self(TempDir::new().unwrap());
        fs::write(home.path("logtally.toml"), "backend = \"aws\"\nstate_dir = \"state\"\n").unwrap();
        let log = home.path("access.log").display().to_string();
        let agent = format!(
            r#"{{"kinesis.endpoint": "{endpoint}", "kinesis.region": "eu-west-1",
                 "awsAccessKeyId": "AKIA{SECRET}", "awsSecretAccessKey": "{SECRET}/+",
                 "flows": [{{"filePattern": "{log}", "kinesisStream": "{INPUT}",
                             "initialPosition": "START_OF_FILE"}}]}}"#
        );
        fs::write(home.path("agent.json"), agent).unwrap();
        fs::write(home.path("access.log"), "a line\n").unwrap();
        home
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// With secrets in every variable that may hold one, and all diagnostics there are.
    fn run(&self, line: &str, endpoint: &str, format: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logtally"));
        command.args(line.split_whitespace()).env_clear().current_dir(self.0.path());
        command.env("HOME", self.0.path()).env("AWS_REGION", "eu-west-1").env("AWS_MAX_ATTEMPTS", "1");
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            command.env(name, format!("AKIA{SECRET}"));
        }
        command.env("AWS_ENDPOINT_URL", endpoint);
        command.envs([("LOGTALLY_LOG", "trace"), ("LOGTALLY_LOG_FORMAT", format)]).output().unwrap()
    }
}

fn leaks(directory: &Path) -> bool {
    fs::read_dir(directory).into_iter().flatten().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return leaks(&path);
        }
        memchr::memmem::find(&fs::read(&path).unwrap(), SECRET.as_bytes()).is_some()
    })
}

#[track_caller]
fn silent(output: &Output, what: &str) {
    let shown = [&output.stdout[..], &output.stderr].concat();
    let shown = String::from_utf8_lossy(&shown);
    assert!(!shown.is_empty() && !shown.contains(SECRET), "{what}: {shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_sends_shows_no_credentials() {
    let kinesis = Kinesis::start().await;
    let endpoint = kinesis.config.endpoint_url().unwrap();
    for format in ["text", "json"] {
        let home = Home::new(endpoint);
        let output = home.run("produce --agent-config agent.json --once", endpoint, format);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        silent(&output, format);
        assert!(!leaks(&home.path("state")) && leaks(home.0.path()), "in the state, or found nowhere");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_fail_show_no_credentials() {
    // Nobody listens there; the other one is no address at all.
    for endpoint in [
        format!("http://user:{SECRET}@127.0.0.1:9/{SECRET}?key={SECRET}"),
        format!("http://{SECRET}:not a port"),
    ] {
        let home = Home::new(&endpoint);
        for (line, format) in [
            ("check --aws", "text"),
            ("check --aws --format json", "json"),
            ("status", "text"),
            ("report -vv", "json"),
            ("audit", "text"),
            ("deliver --dry-run", "text"),
            ("convert agent.json", "text"),
            ("check --agent-config agent.json", "text"),
        ] {
            silent(&home.run(line, &endpoint, format), &format!("{line} at {endpoint}"));
        }
        assert!(!leaks(&home.path("state")));
    }
    let endpoint = "http://x:not a port";
    let said = Home::new(endpoint).run("status", endpoint, "text").stderr;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("the endpoint is no address"), "{said}");
}
