"""The programs that are compared: how each is set up, and its command line. Measures nothing.

Everything goes to target/peers. Versions are pinned: the Python packages, Flink's jars among them, by hash in requirements
files, the crates in programs/Cargo.lock; GoAccess and mawk are Debian's.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
JOBS = HERE / "jobs"
sys.path.append(str(ROOT / "tests" / "it"))

from virtual_environment import TARGET, made  # noqa: E402: what every test in Python goes through

HOME = TARGET / "peers"

# The versions of Debian 12; others are taken, and named in the table.
PACKAGES = {"goaccess": "1:1.7-1", "mawk": "1.3.4.20200120-3.1"}

# More than Flink needs: by itself the JVM would take a quarter of the machine before it collects any garbage.
FLINK_HEAP = "-Xmx1g"


@dataclass(frozen=True)
class Peer:
    """`command` takes the log, the reference data and a number of cores; `result` is whether it does the whole job."""

    name: str
    note: str
    command: Callable[[str, str, int], list]
    result: bool = True


def peers(install: bool) -> list:
    """All of them; each is set up when its command is first asked for. `install`: apt-get may be used."""
    clickhouse, polars, duckdb = (python_job(engine) for engine in ("clickhouse", "polars", "duckdb"))

    def mawk(log: str, reference: str, _cores: int) -> list:
        package("mawk", install)
        script = 'echo "$1"; mawk -f "$2" "$3" "$4" | LC_ALL=C sort -t, -k1,1 -k2,2 -k3,3'
        header = "windowStart,applicationName,contact,responseCount"
        return ["sh", "-c", script, "sh", header, JOBS / "count.awk", reference, log]

    def goaccess(log: str, _reference: str, _cores: int) -> list:
        package("goaccess", install)
        others = ["VISITORS", "REQUESTS", "REQUESTS_STATIC", "NOT_FOUND", "OS", "BROWSERS", "VIRTUAL_HOSTS", "REFERRERS",
                  "REFERRING_SITES", "KEYPHRASES", "STATUS_CODES", "REMOTE_USER", "CACHE_STATUS", "GEO_LOCATION", "ASN",
                  "MIME_TYPE", "TLS_TYPE"]
        return ["goaccess", log, "--log-format=COMBINED", "--no-global-config", "--no-progress", "--hour-spec=min",
                *(f"--ignore-panel={panel}" for panel in others), "--output", HOME / "results" / "goaccess.json"]

    return [
        Peer("polars", "split at quotes", polars()),
        Peer("clickhouse-split", "chDB; split at quotes", clickhouse("split")),
        Peer("clickhouse-regex", "chDB; one regular expression", clickhouse("regex")),
        Peer("duckdb-csv", "as lenient CSV with quotes between fields", duckdb("csv")),
        Peer("duckdb-regex", "one regular expression", duckdb("regex")),
        Peer("regex", "a loop on the `regex` crate", program("peer-regex")),
        Peer("mawk", "split at quotes; then `sort`; one thread", mawk),
        Peer("flink-streaming", "DataStream; parsed by hand in Java 17", flink("streaming")),
        Peer("flink-batch", "the same in batch mode", flink("batch")),
        Peer("vrl", "`parse_apache_log` of Vector", program("peer-vrl")),
        Peer("goaccess", "does less: no join, no windows; hosts and minutes of the day; one thread", goaccess, False),
    ]


def pipeline(binary: Path | None) -> Peer:
    """Our own stages: from the log through the durable stream to the metrics, and an audit that every line is there."""
    def command(log: str, reference: str, _cores: int) -> list:
        state, configuration = HOME / "run-state", HOME / "run.toml"
        configuration.write_text(f'state_dir = "{state}"\n[produce]\nfiles = ["{log}"]\n[analyze]\nreference = "{reference}"\n')
        script = 'rm -rf "$1" && "$2" run --once --config "$3" && "$2" audit --config "$3" >/dev/null'
        return ["sh", "-c", script, "sh", state, binary or built("--bin", "logtally"), configuration]

    return Peer("logtally-run", "file to metric through the durable stream, then an audit; no result", command, False)


def floor() -> Peer:
    return Peer("wc -l", "counts lines only: the floor", lambda log, _reference, _cores: ["wc", "-l", log], False)


def logtally(binary: Path | None) -> Peer:
    """`binary` as it is, or else the sources beside this file, built."""
    def command(log: str, reference: str, cores: int) -> list:
        return [binary or built("--bin", "logtally"), "replay", log, "--reference", reference, "--format", "csv", "--zero-rows",
                "--threads", str(cores)]

    return Peer("logtally", "everything on; more than the job, see above", command)


def log_and_reference(lines: int) -> tuple:
    """The log of so many lines and its reference data; made again when the generator has changed."""
    HOME.mkdir(parents=True, exist_ok=True)
    log, reference = HOME / f"access-{lines}.log", HOME / "hosts.csv"
    changed = max(file.stat().st_mtime for file in (ROOT / "examples" / "generate").iterdir())
    if not all(file.exists() and file.stat().st_mtime >= changed for file in (log, reference)):
        unfinished = log.with_suffix(".unfinished")
        check([built("--example", "generate"), "--lines", str(lines), "--seed", "1", "--out", unfinished, "--hosts", reference])
        unfinished.rename(log)
    return str(log), str(reference)


@cache
def built(kind: str, name: str) -> Path:
    """Our own, without the AWS SDK, which this does not use and which takes minutes to compile."""
    check(["cargo", "build", "--release", "--locked", "--no-default-features", kind, name], cwd=ROOT)
    return TARGET / "release" / ("examples" if kind == "--example" else "") / name


def python_job(engine: str) -> Callable:
    own = HERE / f"requirements-{engine}.txt"
    requirements = own if own.exists() else ROOT / "sql-equivalents" / f"requirements-{engine}.txt"
    environment = cache(lambda: made(HOME / engine, requirements))

    def job(*way: str) -> Callable:
        script = JOBS / f"by_{engine}.py"
        return lambda log, reference, cores: [environment(), script, *way, log, reference, str(cores)]

    return job


def program(name: str) -> Callable:
    return lambda log, reference, cores: [programs() / name, log, reference, str(cores)]


@cache
def programs() -> Path:
    check(["cargo", "build", "--release", "--locked", "--manifest-path", HERE / "programs" / "Cargo.toml",
           "--target-dir", HOME / "programs"])
    return HOME / "programs" / "release"


def flink(mode: str) -> Callable:
    def command(log: str, reference: str, cores: int) -> list:
        collector = "-XX:+UseSerialGC" if cores == 1 else "-XX:+UseParallelGC"
        # What Flink's own scripts open to it.
        opened = [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "util", "util.concurrent", "time")]
        return ["java", FLINK_HEAP, collector, *opened, "-cp", flink_classes(), "FlinkJob", mode, log, reference, str(cores)]

    return command


@cache
def flink_classes() -> str:
    """The class path, with the job compiled."""
    for tool in ("java", "javac"):
        if shutil.which(tool) is None:
            sys.exit(f"Flink needs {tool} 17; on Debian: apt-get install openjdk-17-jdk-headless")
    python = made(HOME / "flink", HERE / "requirements-flink.txt")
    jars = next(python.parent.parent.glob("lib/python*/site-packages/pyflink/lib"))
    classes = HOME / "flink-classes"
    check(["javac", "-nowarn", "-cp", f"{jars}/*", "-d", classes, JOBS / "FlinkJob.java"])
    return f"{classes}:{jars}/*"


@cache
def package(name: str, install: bool) -> None:
    """Sees to it that Debian's package is there."""
    if shutil.which(name) is None:
        if not install or os.geteuid() != 0:
            sys.exit(f"{name} is not installed; apt-get install {name}, or run this with --install as root")
        check(["apt-get", "install", "--yes", "--no-install-recommends", name])
    shown = subprocess.run(["dpkg-query", "--show", "--showformat=${Version}", name], capture_output=True, text=True, check=False)
    if shown.stdout != PACKAGES[name]:
        print(f"{name} is {shown.stdout or 'not of Debian'}; the figures of benches/README.md are of {PACKAGES[name]}",
              file=sys.stderr)


def check(command: list, **more: object) -> None:
    """Runs `command`, its output on standard error; exits if it fails."""
    print("+", *command, file=sys.stderr)
    if subprocess.run(command, stdout=sys.stderr, check=False, **more).returncode != 0:
        sys.exit(f"{command[0]} failed")
