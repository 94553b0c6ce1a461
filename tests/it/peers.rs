//! The comparison with other programs (`benches/peers`): what it computes and that its scripts are Python. Runs no peer:
//! `benches/peers/run` does.

#![cfg(test)]

use std::{path::Path, process::Command};

#[test]
fn results_are_compared_and_ratios_paired() {
    succeed(&["benches/peers/test_measure.py"]);
}

#[test]
fn the_scripts_are_python_and_the_driver_starts() {
    let parse =
        "import ast, pathlib, sys\nfor name in sys.argv[1:]: ast.parse(pathlib.Path(name).read_text(), name)";
    let jobs = ["clickhouse", "duckdb", "polars"].map(|engine| format!("benches/peers/jobs/by_{engine}.py"));
    let mut arguments = vec!["-c", parse, "benches/peers/launch.py", "benches/pipeline", "benches/curves"];
    arguments.extend(jobs.iter().map(String::as_str));
    succeed(&arguments);

    let help = succeed(&["benches/peers/run", "--help"]);
    assert!(help.contains("--setup-only"), "{help}");
}

/// What python3 prints that is called with `arguments`.
#[track_caller]
fn succeed(arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // No compiled files beside the sources.
    let output = Command::new("python3").current_dir(root).arg("-B").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
