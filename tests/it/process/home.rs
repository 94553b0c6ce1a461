//! A directory with a configuration, and the binary in it. Knows no line.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use logtally::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The longest that anything here may take; only a broken product or machine needs it.
pub(super) const DEADLINE_MS: i64 = 600_000;
/// How often it is looked whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Every file that a rotation gives, in windows of a second, everything as soon as can be.
pub(super) const CONFIG: &str = r#"
state_dir = "state"
[produce]
files = ["access.log*"]
record_age = "20ms"
refresh = "100ms"
[analyze]
window = "1s"
allowed_lateness = "0s"
correction_interval = "1s"
checkpoint_interval = "100ms"
reference = "hosts.csv"
reference_refresh = "200ms"
"#;

pub(super) const HOSTS: &str = "\
Host,ApplicationName,Contact
10.0.0.0/28,Billing,billing@example.com
10.0.1.7,Search,search@example.com
web.example.com,Shop,shop@example.com
";

/// Where a pipeline lives.
pub(super) struct Home {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

/// A command that came to its end.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// A process that runs; killed when it is dropped.
pub(super) struct Running {
    child: Child,
    line: String,
    said: PathBuf,
}

impl Home {
    pub(super) fn new() -> Self {
        Self::with(CONFIG)
    }

    pub(super) fn with(config: &str) -> Self {
        Self::with_environment(config, Vec::new())
    }

    pub(super) fn with_environment(config: &str, environment: Vec<(String, String)>) -> Self {
        let home = Self { directory: TempDir::new().unwrap(), environment };
        home.write("logtally.toml", config);
        home.write("hosts.csv", HOSTS);
        home
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Appends to the log.
    pub(super) fn log(&self, lines: &str) {
        self.append("access.log", lines);
    }

    pub(super) fn append(&self, name: &str, lines: &str) {
        let mut file = File::options().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
    }

    /// Compresses a file as logrotate does it.
    pub(super) fn compress(&self, from: &str, to: &str) {
        let mut encoder = GzEncoder::new(File::create(self.path(to)).unwrap(), Compression::fast());
        encoder.write_all(&fs::read(self.path(from)).unwrap()).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(self.path(from)).unwrap();
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logtally"));
        command.args(line.split_whitespace());
        self.at_home(command)
    }

    /// A shell that runs `script`, in which `$LOGTALLY` is the binary.
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        let mut command = self.at_home(command);
        command.env("LOGTALLY", env!("CARGO_BIN_EXE_logtally"));
        command
    }

    fn at_home(&self, mut command: Command) -> Command {
        command.env_clear().env("HOME", self.directory.path()).env("NO_COLOR", "1");
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub(super) fn ended(&self, line: &str) -> Ended {
        Ended::of(self.command(line))
    }

    /// Runs a script of the shell to its end; in it `$LOGTALLY` is the binary.
    pub(super) fn scripted(&self, script: &str) -> Ended {
        Ended::of(self.shell(script))
    }

    /// Runs a command that must succeed, and gives what it printed.
    #[track_caller]
    pub(super) fn result(&self, line: &str) -> String {
        let Ended { code, stdout, stderr } = self.ended(line);
        assert_eq!(code, Some(0), "{line}: {stderr}\n{stdout}\nbefore: {}", self.said());
        stdout
    }

    /// Starts a command that goes on; what it says is gathered with what those before it said.
    pub(super) fn start(&self, line: &str) -> Running {
        self.fed(line, Stdio::null())
    }

    /// Starts a command that reads `input`.
    pub(super) fn fed(&self, line: &str, input: impl Into<Stdio>) -> Running {
        let mut command = self.command(line);
        command.stdin(input);
        self.spawned(command, line)
    }

    /// Starts a command within `limits`, which the shell sets.
    pub(super) fn limited(&self, limits: &str, line: &str) -> Running {
        self.spawned(self.shell(&format!("{limits}; exec $LOGTALLY {line}")), line)
    }

    fn spawned(&self, mut command: Command, line: &str) -> Running {
        let said = self.path("said.txt");
        let stderr = File::options().append(true).create(true).open(&said).unwrap();
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        Running { child, line: line.to_owned(), said }
    }

    /// What the processes said on standard error.
    pub(super) fn said(&self) -> String {
        fs::read(self.path("said.txt"))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// Waits until a process has said this.
    #[track_caller]
    pub(super) fn until_said(&self, text: &str) {
        self.until(text, || self.said().contains(text));
    }

    /// Waits until `happened`.
    #[track_caller]
    pub(super) fn until(&self, what: &str, mut happened: impl FnMut() -> bool) {
        let clock = Clock::system();
        let began = clock.now();
        while !happened() {
            let waited = clock.now().millis_since(began);
            assert!(waited < DEADLINE_MS, "never: {what}; said: {}", self.said());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until the stage is up: its lock names the process.
    #[track_caller]
    pub(super) fn until_up(&self, process: &Running, stage: &str) {
        let lock = self.path(&format!("state/logtally.db.{stage}.lock"));
        let id = process.id();
        self.until(&format!("{stage} is up"), || fs::read_to_string(&lock).is_ok_and(|holder| holder == id));
    }
}

impl Ended {
    fn of(mut command: Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Running {
    pub(super) fn id(&self) -> String {
        self.child.id().to_string()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Whether it runs.
    pub(super) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL. A process that had ended before, by itself, is a failure.
    #[track_caller]
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{} ended by itself, {status}: {}", self.line, self.said());
    }

    /// Waits for its end.
    #[track_caller]
    pub(super) fn wait(mut self) -> ExitStatus {
        let clock = Clock::system();
        let began = clock.now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            let waited = clock.now().millis_since(began);
            assert!(waited < DEADLINE_MS, "{} does not end: {}", self.line, self.said());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// SIGTERM, which must end it well.
    #[track_caller]
    pub(super) fn stop(self) {
        self.signal(Signal::TERM);
        let said = self.said.clone();
        let line = self.line.clone();
        let status = self.wait();
        assert!(status.success(), "{line}: {status}: {}", fs::read_to_string(said).unwrap());
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
