//! The commands that look at the pipeline, run as a user does, against doubles of the services. Kills nothing.

use std::{
    fs,
    process::{Command, Output},
    thread,
    time::Duration,
};

use aws_sdk_cloudwatch::{
    primitives::DateTime,
    types::{Dimension, MetricDatum, StandardUnit},
};
use logtally::{clock::Clock, engine::time::Timestamp};
use serde_json::Value as Json;
use tempfile::TempDir;

use super::{
    bridge::{
        Bridge,
        Fault::{Answered, Lost},
    },
    double::Kinesis,
    moto::{Moto, REGION, config},
};

const MINUTE: i64 = 60_000;
/// The default of `allowed_lateness`.
const LATENESS_MS: i64 = 10_000;
/// Longer than a pipeline of a few lines takes.
const QUIET_MS: i64 = 20_000;

/// Services with nothing in them, and a directory with a configuration that names them.
pub(super) struct Home {
    pub(super) moto: Moto,
    pub(super) bridge: Bridge,
    kinesis: Kinesis,
    directory: TempDir,
}

impl Home {
    pub(super) async fn new() -> Self {
        let moto = Moto::start();
        moto.create_table_of_leases("logtally-leases").await;
        moto.create_ledger("logtally-ledger").await;
        let bridge = Bridge::start(moto.endpoint());
        let home = Self { bridge, moto, kinesis: Kinesis::start().await, directory: TempDir::new().unwrap() };
        home.configure("");
        home.write("hosts.csv", "Host,ApplicationName,Contact\n10.0.0.1,Billing,billing@example.com\n");
        home
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// The configuration with more in `[aws]`.
    fn configure(&self, more: &str) {
        self.write(
            "logtally.toml",
            &format!(
                "backend = \"aws\"\nstate_dir = \"state\"\n[produce]\nfiles = [\"*.log\"]\n[analyze]\n\
                 reference = \"hosts.csv\"\n[aws]\nlease = \"1s\"\n{more}"
            ),
        );
    }

    pub(super) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logtally"));
        command.args(line.split_whitespace()).current_dir(self.directory.path()).env_clear();
        command.env("HOME", self.directory.path()).env("AWS_REGION", REGION);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_ENDPOINT_URL", self.bridge.endpoint());
        command.env("AWS_ENDPOINT_URL_KINESIS", self.kinesis.config.endpoint_url().unwrap());
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command
    }

    pub(super) fn result(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code and standard error.
    fn refusal(&self, line: &str) -> String {
        told(&self.command(line).output().unwrap())
    }

    /// A log of requests 20 minutes ago: 30 of Billing, 12 of nobody, and one line that is none. Its window's start.
    fn log(&self) -> Timestamp {
        let at = Clock::system().now().plus_millis(-20 * MINUTE);
        let text = at.to_string();
        let (date, time) = text.split_once('T').unwrap();
        let parts: Vec<&str> = date.split('-').collect();
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = months[parts[1].parse::<usize>().unwrap() - 1];
        let stamp = format!("{}/{month}/{}:{} +0000", parts[2], parts[0], &time[..8]);
        let line = |number: u32| {
            let host = if number < 30 { "10.0.0.1" } else { "192.0.2.9" };
            let status = if number.is_multiple_of(10) { 500 } else { 200 };
            format!("{host} - - [{stamp}] \"GET /{number} HTTP/1.1\" {status} 5 \"-\" \"test\"\n")
        };
        self.write("access.log", &((0..42).map(line).collect::<String>() + "nonsense\n"));
        Timestamp::from_millis(at.as_millis().div_euclid(5 * MINUTE) * 5 * MINUTE)
    }

    /// As far as the output stream, at a time when no window closes for a while: its health rows would come as well.
    pub(super) fn analyzed(&self) -> Timestamp {
        let closed = Clock::system().now().plus_millis(-LATENESS_MS).as_millis().rem_euclid(5 * MINUTE);
        if closed > 5 * MINUTE - QUIET_MS {
            thread::sleep(Duration::from_millis((5 * MINUTE - closed + 1_000).unsigned_abs()));
        }
        let window = self.log();
        self.result("produce --once");
        self.result("analyze --once");
        window
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn told(output: &Output) -> String {
    let code = output.status.code().map_or("killed".to_owned(), |code| code.to_string());
    format!("{code} {}", String::from_utf8_lossy(&output.stderr))
}

pub(super) fn rows(lines: &str) -> Vec<Json> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The sum of `key` over the rows of a kind.
fn sum(rows: &[Json], kind: &str, key: &str) -> u64 {
    rows.iter().filter(|row| row["kind"] == kind).map(|row| row[key].as_u64().unwrap_or_default()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pipeline_is_looked_at_from_nothing_to_books_that_balance() {
    let home = Home::new().await;
    let nothing = home.command("status").output().unwrap();
    assert_eq!(
        told(&nothing),
        "0 no stage of pipeline default has taken a shard in table logtally-leases yet\n"
    );
    let nothing = home.refusal("report --since 1h");
    assert_eq!(nothing, "0 no requests in namespace Logtally of CloudWatch in the last two weeks\n");
    let window = home.analyzed();

    let status = rows(&home.result("status --format json"));
    assert_eq!(status.iter().filter(|row| row["kind"] == "input shards").count(), 4, "{status:?}");
    let books = ["lines", "counted", "malformed", "duplicate", "late", "open"];
    assert_eq!(books.map(|key| sum(&status, "input shards", key)), [43, 42, 1, 0, 42, 0], "{status:?}");
    let malformed: Vec<&Json> = status.iter().filter(|row| row["kind"] == "malformed lines").collect();
    assert_eq!(malformed.len(), 1);
    assert_eq!(malformed[0]["sample"], "nonsense");

    // What is due is what comes.
    let due = rows(&home.result("deliver --dry-run --format json"));
    let datums = due.iter().flat_map(|call| call["MetricData"].as_array().unwrap());
    let requests = datums.clone().filter(|datum| datum["MetricName"] == "RequestCount");
    let requests: Vec<String> = requests.map(|datum| datum["Value"].to_string()).collect();
    assert_eq!(requests, ["30.0", "12.0"], "{due:?}");
    assert!(due.iter().all(|call| call["Namespace"] == "Logtally"), "{due:?}");
    let table = home.result("deliver --dry-run");
    assert!(table.contains("ApplicationName=Billing, StatusClass=5xx"), "{table}");
    assert!(table.contains("due: 1, with 6 datums of 6 custom metrics;"), "{table}");
    let again = rows(&home.result("deliver --dry-run --format json"));
    assert_eq!(again, due, "it changes nothing");
    home.result("deliver --once");
    assert_eq!(home.bridge.seen("PutMetricData").len(), due.len());
    let nothing = home.result("deliver --dry-run");
    assert!(
        nothing.starts_with("calls of PutMetricData due: 0, with 0 datums of 0 custom metrics;"),
        "{nothing}"
    );

    let report = home.result(&format!("report --since {window} --format csv"));
    let mut report: Vec<&str> = report.lines().collect();
    report.truncate(3);
    insta::assert_snapshot!(report.join("\n"), @"
    applicationName,contact,requests,share,errorShare,topHosts
    Billing,billing@example.com,30,0.7142857142857143,0.1,
    Unknown,,12,0.2857142857142857,0.16666666666666666,
    ");
    let status = home.result("status");
    assert!(status.contains("output shards\nStream"), "{status}");

    let audit = home.result("audit");
    assert!(audit.ends_with("the books balance\n") && !audit.contains("NO"), "{audit}");
    let compared = rows(&home.result("audit --format json"));
    let of_billing = |row: &&Json| row["about"] == format!("{window} RequestCount Billing");
    let of_billing = compared.iter().find(of_billing).unwrap();
    assert_eq!((of_billing["left"].as_f64(), of_billing["right"].as_f64()), (Some(30.0), Some(30.0)));

    // Somebody else adds to the metric.
    let client = aws_sdk_cloudwatch::Client::new(&config(home.bridge.endpoint()));
    let dimension = Dimension::builder().name("ApplicationName").value("Billing").build();
    let datum = MetricDatum::builder().metric_name("RequestCount").dimensions(dimension).value(5.0);
    let datum = datum.timestamp(DateTime::from_millis(window.as_millis())).unit(StandardUnit::Count).build();
    client.put_metric_data().namespace("Logtally").metric_data(datum).send().await.unwrap();
    let output = home.command("audit").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let audit = said(&output);
    assert!(audit.ends_with("1 equation does not balance\n"), "{audit}");
    let wrong = audit.lines().find(|line| line.contains("NO")).unwrap();
    assert!(wrong.starts_with(&format!("{window} RequestCount Billing")), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_doubt_is_named_and_waits_until_it_can_be_settled() {
    let home = Home::new().await;
    let window = home.analyzed();
    home.bridge.inject("PutMetricData", [Lost]);
    home.result("deliver --once");
    let doubted = home.result("audit");
    assert!(doubted.contains(" 1 in doubt, 0 refused\n"), "{doubted}");
    assert!(doubted.ends_with("the books balance\n"), "{doubted}");
    let settled = home.result("audit --settle --format json");
    let calls: Vec<Json> = rows(&settled).into_iter().filter(|row| row["kind"] == "calls in doubt").collect();
    assert_eq!(calls.len(), 1, "{settled}");
    assert_eq!(calls[0]["verdict"], "waiting");
    assert!(calls[0]["detail"].as_str().unwrap().starts_with("CloudWatch may not show all of it before "));
    let of_billing = |row: &Json| row["about"] == format!("{window} RequestCount Billing");
    let of_billing = rows(&settled).into_iter().find(of_billing).unwrap();
    assert_eq!([&of_billing["left"], &of_billing["right"], &of_billing["inDoubt"]], [0.0, 0.0, 30.0]);
    // It is not due again.
    let due = home.result("deliver --dry-run");
    assert!(due.starts_with("calls of PutMetricData due: 0,"), "{due}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cloudwatch_may_not_show_yet_is_no_difference() {
    let home = Home::new().await;
    let window = home.analyzed();
    // Another CloudWatch gets it: the one that is asked shows nothing.
    let other = Moto::start();
    let elsewhere = Bridge::start(other.endpoint());
    let mut deliver = home.command("deliver --once");
    let delivered = deliver.env("AWS_ENDPOINT_URL_CLOUDWATCH", elsewhere.endpoint()).output().unwrap();
    assert_eq!(delivered.status.code(), Some(0), "{}", said(&delivered));
    let audit = home.result("audit");
    let of_billing = format!("{window} RequestCount Billing ");
    let of_billing = audit.lines().find(|line| line.starts_with(&of_billing)).unwrap();
    assert!(of_billing.contains("not yet"), "{audit}");
    assert!(audit.contains("6 of them were sent too recently for CloudWatch to show them all\n"), "{audit}");
    assert!(audit.ends_with("nothing is known to differ\n"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tries_what_the_stages_do_and_changes_nothing() {
    let home = Home::new().await;
    home.moto.create_bucket("cuts.example").await;
    home.configure("bucket = \"cuts.example\"\n");
    let quiet = home.result("check --format csv");
    assert!(quiet.contains("AWS,ok,not asked: logtally check --aws tries"), "{quiet}");
    let checked = home.result("check --aws --format csv");
    let checked: Vec<&str> = checked.lines().skip_while(|line| !line.starts_with("write to")).collect();
    insta::assert_snapshot!(checked.join("\n"), @r#"
    write to stream logtally-input,ok,kinesis:PutRecords: permitted
    read stream logtally-input,ok,"4 open shards, 0 closed"
    write to stream logtally-output,ok,kinesis:PutRecords: permitted
    read stream logtally-output,ok,"1 open shards, 0 closed"
    table logtally-leases,ok,dynamodb:UpdateItem: permitted
    bucket cuts.example,ok,s3:PutObject: permitted
    table logtally-ledger,ok,dynamodb:UpdateItem: permitted
    namespace Logtally,ok,cloudwatch:PutMetricData: answered
    "#);
    assert!(!home.directory.path().join("state").exists());
    let client = aws_sdk_dynamodb::Client::new(&home.moto.config());
    let leases = client.scan().table_name("logtally-leases").send().await.unwrap();
    assert_eq!(leases.count, 0);
    assert_eq!(home.result("deliver --dry-run").lines().count(), 1);

    // Without produce nothing on this machine is asked for.
    let elsewhere = home.command("check --aws").env("LOGTALLY_STAGES", "deliver").output().unwrap();
    assert_eq!(elsewhere.status.code(), Some(0), "{}", said(&elsewhere));
    assert!(!said(&elsewhere).contains("state directory"));

    home.moto.create_table("other", "id").await;
    home.configure("input_stream = \"none\"\ntable = \"other\"\n");
    let failed = home.command("check --aws --format csv").output().unwrap();
    assert_eq!(failed.status.code(), Some(78));
    let failed: Vec<String> =
        said(&failed).lines().filter(|line| line.contains("FAILED")).map(str::to_owned).collect();
    insta::assert_snapshot!(failed.join("\n"), @r#"
    write to stream none,FAILED,"stream none does not exist: create it (infra/deploy.sh does), or name another in [aws]"
    read stream none,FAILED,"stream none does not exist: create it (infra/deploy.sh does), or name another in [aws]"
    table other,FAILED,table other has another schema: its one key is to be leaseKey (infra/logtally.yaml makes it so)
    "#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_services_refuse_is_one_line() {
    let home = Home::new().await;
    let mut lines = Vec::new();
    for command in ["status", "audit", "deliver --dry-run", "report"] {
        let mut command = home.command(command);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        let output = told(&command.output().unwrap());
        assert!(output.starts_with("78 logtally: ") && output.lines().count() == 1, "{output}");
        assert!(output.contains("no valid AWS credentials: set AWS_PROFILE, log in"), "{output}");
    }
    lines.push(told(&home.command("status").env_remove("AWS_REGION").output().unwrap()));
    home.bridge.inject("Scan", [Answered(400, "AccessDeniedException")]);
    lines.push(home.refusal("status"));
    home.moto.create_table("other", "id").await;
    home.configure("output_stream = \"none\"\n");
    lines.push(home.refusal("deliver --dry-run"));
    home.configure("table = \"other\"\n");
    lines.push(home.refusal("status"));
    lines.push(home.refusal("audit"));
    home.configure("ledger = \"none\"\n");
    lines.push(home.refusal("audit"));
    insta::assert_snapshot!(lines.concat(), @"
    78 logtally: no AWS region: set AWS_REGION, or region in the profile of ~/.aws/config
    78 logtally: dynamodb:Scan on table logtally-leases: not permitted: allow dynamodb:Scan in the role's policy (so the test wants it)
    78 logtally: stream none does not exist: create it (infra/deploy.sh does), or name another in [aws]
    78 logtally: table other is no table of leases: its partition key must be leaseKey, a string, without a sort key, and every item have a leaseCounter; create one (infra/deploy.sh does), or name another in [aws] table
    78 logtally: table other is no table of leases: its partition key must be leaseKey, a string, without a sort key, and every item have a leaseCounter; create one (infra/deploy.sh does), or name another in [aws] table
    78 logtally: table none does not exist: create it (infra/deploy.sh does), or name another in [aws]
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_does_not_answer_is_unavailable() {
    let home = Home::new().await;
    let nobody = "http://127.0.0.1:9";
    let silent = |line: &str| {
        let mut command = home.command(line);
        command.env("AWS_ENDPOINT_URL", nobody).env("AWS_ENDPOINT_URL_KINESIS", nobody);
        command.env("AWS_MAX_ATTEMPTS", "1");
        command.output().unwrap()
    };
    for line in ["status", "report"] {
        let output = told(&silent(line));
        assert!(output.starts_with("69 logtally: ") && output.lines().count() == 1, "{output}");
    }
    let checked = silent("check --aws");
    assert_eq!(checked.status.code(), Some(69), "{}", said(&checked));
}

#[test]
fn what_is_for_aws_says_so_elsewhere() {
    let directory = TempDir::new().unwrap();
    let refusal = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logtally"));
        command.args(line.split_whitespace()).env_clear().current_dir(directory.path());
        told(&command.args(["--state-dir", "s"]).output().unwrap())
    };
    let lines = ["deliver --dry-run", "check --aws", "deliver --format csv"];
    insta::assert_snapshot!(lines.map(refusal).concat(), @r#"
    64 logtally: --dry-run shows the calls to CloudWatch that backend = "aws" would make, and the backend is this machine: logtally report shows what its metrics hold
    64 logtally: --aws tries what backend = "aws" would do, and the backend is this machine: set it in logtally.toml
    64 error: the following required arguments were not provided:
      --dry-run

    Usage: logtally deliver --dry-run --format <FORMAT> --state-dir <DIR>

    For more information, try '--help'.
    "#);
    fs::write(directory.path().join("a.log"), "").unwrap();
    assert!(refusal("produce a.log --once").starts_with("0 "));
    insta::assert_snapshot!(["audit --settle", "audit --since 1h"].map(refusal).concat(), @r#"
    0 nothing to settle: on this machine no call is ever in doubt
    64 logtally: --since is for backend = "aws": on this machine every window is compared
    "#);
}
