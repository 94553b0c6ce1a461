//! Python for tests whose tools and doubles are written in it. Installs nothing outside `target/`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A command that runs `script` with what `requirements` pins. Both paths are from the root of the package; `home` is
/// the name of the virtual environment, which is made on first use and needs the package registry once.
pub(crate) fn python(home: &str, requirements: &str, script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("python3");
    command.current_dir(root).arg("tests/it/virtual_environment.py").args([home, requirements]);
    let made = command.output().unwrap_or_else(|error| {
        panic!("this test needs python3 (3.11 or later, with venv and pip): {error}")
    });
    let diagnostics = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "no virtual environment from {requirements}:\n{diagnostics}");
    let python = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim_end());
    let mut command = Command::new(python);
    // moto warns of what it cannot deploy; the tests say it themselves.
    command.current_dir(root).args(["-W", "ignore", script]);
    command
}
