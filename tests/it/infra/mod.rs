//! `infra/` against doubles of AWS: the template is sound, and what it deploys has the names that the program uses.
//! Needs python3 (3.11 or later) and, once, the package registry. Reaches no account.

#![cfg(test)]

mod names;
mod sbom;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
    sync::LazyLock,
};

use serde_json::Value;

use crate::venv;

const TEMPLATE: &str = "infra/logtally.yaml";

/// The largest template that `CloudFormation` takes without a bucket, in bytes ("Template body size in a request" of its
/// quotas); deploy.sh sends it so.
const LARGEST_TEMPLATE: u64 = 51_200;

/// What moto 5.2.5 cannot create: `AWS::CloudWatch::Alarm` and `AWS::S3::BucketPolicy`. Alarms are held to the program's
/// names by [`names`].
const UNSUPPORTED: &str = "Application1Alarm Application2Alarm Application3Alarm BrokenAlarm BucketPolicy \
                           DeadLettersAlarm LagAlarm UnknownAlarm";

#[test]
fn cfn_lint_has_nothing_to_say_about_the_template() {
    let lint = "import sys; from cfnlint.runner import main; sys.exit(main())";
    succeed(python("-c").args([lint, "--include-checks", "I", "--", TEMPLATE]));
    assert!(fs::metadata(root().join(TEMPLATE)).unwrap().len() <= LARGEST_TEMPLATE);
}

#[test]
fn the_stack_is_created_with_stages_in_lambda() {
    let stack = &*DEFAULT;
    assert_eq!(
        missing(stack),
        unsupported_and("WorkerGroup WorkerInstanceProfile WorkerRole WorkerTemplate")
    );
    assert_eq!(stack["functions"]["logtally-deliver"]["memory"], 192);
    assert_eq!(stack["functions"]["logtally-deliver"]["timeout"], 10);
    for (function, stream) in [("analyze", "input"), ("deliver", "output")] {
        let sources = &stack["functions"][format!("logtally-{function}")]["sources"];
        assert_eq!(sources, &serde_json::json!([format!("stream/logtally-{stream}")]));
    }
}

#[test]
fn the_stack_is_created_with_stages_on_workers() {
    let stack = stack(&["Analyze=workers", "Deliver=workers", "ScalingHook=no", "Email=a@example.com"]);
    let without = "AnalyzeFunction AnalyzeLogs AnalyzeRole AnalyzeSource DeliverFunction DeliverLogs DeliverRole \
                   DeliverSource ScalingHookFunction ScalingHookLogs ScalingHookRole ScalingPermission ScalingRule";
    assert_eq!(missing(&stack), unsupported_and(without));
    assert_eq!(stack["groups"], serde_json::json!(["logtally-workers"]));
}

#[test]
fn instances_enter_and_leave_the_reference_data() {
    succeed(python("tests/it/infra/hook.py").arg(env!("CARGO_BIN_EXE_logtally")));
}

#[test]
fn the_script_deploys_says_when_there_is_nothing_to_do_and_destroys() {
    succeed(&mut python("tests/it/infra/deploy.py"));
}

#[test]
fn a_dry_run_needs_nothing_and_shows_every_command() {
    let tools = tempfile::tempdir().unwrap();
    for tool in ["bash", "dirname", "uname", "sed", "grep"] {
        let path =
            ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(tool)).into_iter().find(|path| path.exists());
        std::os::unix::fs::symlink(path.unwrap(), tools.path().join(tool)).unwrap();
    }
    let dry = |arguments: &[&str]| {
        let mut script = Command::new(tools.path().join("bash"));
        script.current_dir(tools.path()).env_clear().env("PATH", tools.path()).env("AWS_REGION", "eu-west-1");
        script
            .arg(root().join("infra/deploy.sh"))
            .args(["--architecture", std::env::consts::ARCH.replace("aarch64", "arm64").as_str()]);
        let output = script.args(arguments).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, shown) = dry(&["--dry-run"]);
    assert_eq!((code, said.as_str()), (Some(0), "nothing was done: this was a dry run\n"), "{shown}");
    for command in [
        "aws sts get-caller-identity",
        "cargo test --locked",
        "cargo build --locked --release --bin logtally --bin logtally-lambda",
        "aws s3 cp",
        "aws cloudformation deploy --no-execute-changeset",
        "aws cloudformation execute-change-set",
        "aws cloudformation wait stack-create-complete",
    ] {
        assert!(
            shown.contains(&format!("\n+ {command}")) || shown.starts_with(&format!("+ {command}")),
            "{command}: {shown}"
        );
    }

    let (code, _, shown) = dry(&["--dry-run", "--delete"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("+ aws cloudformation delete-stack --stack-name logtally\n"), "{shown}");
    assert!(!shown.contains("cargo"), "{shown}");

    for (arguments, message) in [
        (&["--nope"][..], "unknown argument --nope"),
        (&["--stack"], "--stack needs a value"),
        (&["--stack", "Not_A_Name"], "--stack Not_A_Name is no name"),
        (&["--parameter", "Prefix=x"], "--parameter Prefix is set by deploy.sh"),
        (&["--parameter", "x"], "--parameter x is no KEY=VALUE"),
    ] {
        let (code, _, shown) = dry(arguments);
        assert_eq!(code, Some(64), "{shown}");
        assert!(shown.contains(message), "{shown}");
    }
    let (code, _, shown) = dry(&["--yes"]);
    assert_eq!((code, shown.as_str()), (Some(1), "deploy.sh: needs aws, which is not installed\n"));
}

#[test]
fn the_configuration_of_the_package_is_one() {
    logtally::config::parse(&read("infra/deb/logtally.toml")).unwrap();
}

/// The template's resources that are not there: conditional ones that were not wanted, and what moto cannot deploy.
fn missing(stack: &Value) -> BTreeSet<String> {
    let deployed: Vec<&str> =
        stack["resources"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let all = stack["template"].as_object().unwrap().keys();
    all.filter(|name| !deployed.contains(&name.as_str())).cloned().collect()
}

fn unsupported_and(names: &str) -> BTreeSet<String> {
    [UNSUPPORTED, names].iter().flat_map(|names| names.split_whitespace()).map(str::to_owned).collect()
}

/// The stack with the parameters' defaults.
static DEFAULT: LazyLock<Value> = LazyLock::new(|| stack(&[]));

/// What stack.py found after it had created the stack with these parameters.
fn stack(parameters: &[&str]) -> Value {
    serde_json::from_slice(&succeed(python("tests/it/infra/stack.py").args(parameters)).stdout).unwrap()
}

fn python(script: &str) -> Command {
    venv::python("infra", "infra/requirements.txt", script)
}

#[track_caller]
fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
