"""A directory with a configuration, and the built binary in it: started, killed, asked. Writes no log."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path

DEADLINE = 600
"""Seconds that anything here may take; only a broken product or machine needs them."""

CONFIG = """
state_dir = "state"
[produce]
files = {files}
record_age = "20ms"
refresh = "100ms"
[analyze]
window = "1s"
allowed_lateness = "0s"
correction_interval = "1s"
checkpoint_interval = "100ms"
reference = "hosts.csv"
"""

HOSTS = """\
Host,ApplicationName,Contact
10.0.0.0/28,Billing,billing@example.com
10.0.1.7,Search,search@example.com
web.example.com,Shop,shop@example.com
"""

PUBLISHED = """
SELECT ts, dims, CAST(sum AS INTEGER) FROM metric JOIN series ON series = series.id
WHERE name = 'ResponseCount' AND sum <> 0
"""


class Wrong(Exception):
    """The product did what it must not."""


def must(holds: bool, why: str) -> None:
    if not holds:
        raise Wrong(why)


def until(what: str, happened) -> None:
    end = time.monotonic() + DEADLINE
    while not happened():
        must(time.monotonic() < end, f"never: {what}")
        time.sleep(0.02)


class Home:
    """Where a pipeline lives. Counts are keyed by second, application and class of response."""

    def __init__(self, binary: Path, *files: str):
        self.binary = binary
        self.directory = Path(tempfile.mkdtemp(prefix="logtally-real-"))
        self.log = self.directory / "access.log"
        self.state = self.directory / "state"
        self.said_file = self.directory / "said.txt"
        self.running: list[subprocess.Popen] = []
        self.environment: dict[str, str] = {}
        (self.directory / "logtally.toml").write_text(
            CONFIG.format(files=json.dumps(list(files)))
        )
        (self.directory / "hosts.csv").write_text(HOSTS)
        self.said_file.touch()

    @property
    def database(self) -> Path:
        return self.state / "logtally.db"

    def _process(self, line: str, **pipes) -> subprocess.Popen:
        environment = {"HOME": str(self.directory), "NO_COLOR": "1", "PATH": os.environ["PATH"], **self.environment}
        process = subprocess.Popen(
            [self.binary, *line.split()], cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, **pipes
        )
        self.running.append(process)
        return process

    def start(self, line: str) -> subprocess.Popen:
        """Starts a command that goes on; what it says is gathered with what those before it said."""
        with self.said_file.open("ab") as said:
            return self._process(line, stdout=subprocess.DEVNULL, stderr=said)

    def ended(self, line: str) -> tuple[int, str, str]:
        """Runs a command to its end: its code, results and diagnostics."""
        process = self._process(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Wrong(f"{line} does not end") from None
        with self.said_file.open("a") as said:
            said.write(err)
        return process.returncode, out, err

    def result(self, line: str) -> str:
        code, out, err = self.ended(line)
        must(code == 0, f"{line} ended with {code}: {out}{err}")
        return out

    def said(self) -> str:
        return self.said_file.read_text(errors="replace")

    def until_said(self, text: str, process: subprocess.Popen | None = None) -> None:
        def heard() -> bool:
            must(process is None or process.poll() is None or text in self.said(), f"ended without saying: {text}")
            return text in self.said()

        until(f"said: {text}", heard)

    def stop(self, process: subprocess.Popen) -> None:
        """SIGTERM, which must end it well."""
        process.terminate()
        must(process.wait(DEADLINE) == 0, f"stopped, and ended with {process.returncode}")

    def clean(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()

    def finish(self) -> None:
        """Processes what is there once every window of lines written until now is over."""
        last = int(time.time())
        until("the last window is over", lambda: time.time() > last + 2)
        self.result("run --once")

    def published(self) -> Counter:
        """What the metrics hold; nothing as long as there is no database."""
        counts = Counter()
        if not self.database.exists():
            return counts
        with closing(sqlite3.connect(self.database, timeout=DEADLINE)) as connection:
            try:
                rows = connection.execute(PUBLISHED).fetchall()
            except sqlite3.OperationalError as error:
                must("no such table" in str(error), f"{error}")
                return counts
        for stamp, dims, requests in rows:
            application, response = (value for _, value in json.loads(dims))
            counts[stamp // 1000, application, response] += requests
        return counts

    @contextmanager
    def locked(self):
        """Nobody else writes to the database meanwhile."""
        with closing(sqlite3.connect(self.database, timeout=DEADLINE, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def reported(self) -> Counter:
        """Requests by application, as `report` says them."""
        counts = Counter()
        asked = "report --format json --since 2020-01-01T00:00:00Z --until 2100-01-01T00:00:00Z"
        for line in self.result(asked).splitlines():
            row = json.loads(line)
            counts[row["applicationName"]] += row["requests"]
        return +counts

    def malformed(self) -> int:
        rows = [json.loads(line) for line in self.result("status --format json").splitlines()]
        return sum(row.get("malformed") or 0 for row in rows if "duplicate" in row)

    def assert_balanced(self) -> None:
        code, out, err = self.ended("audit")
        must(code == 0, f"audit ended with {code}: {out}{err}")

    def assert_exact(self, truth: Counter, malformed: int) -> None:
        """Every line that was written, in its second, once."""
        differences = difference(truth, self.published())
        must(not differences, f"{len(differences)} counts differ, as {differences[:5]}")
        must(self.reported() == by_application(truth), f"report says {self.reported()}: {by_application(truth)}")
        must(self.malformed() == malformed, f"{self.malformed()} malformed lines of {malformed}")
        self.assert_balanced()


def bytes_read(process: subprocess.Popen) -> int:
    """By all its reads until now, of files and of pipes."""
    return int(re.search(r"rchar: (\d+)", Path(f"/proc/{process.pid}/io").read_text())[1])


def by_application(counts: Counter) -> Counter:
    sums = Counter()
    for (_, application, _), requests in counts.items():
        sums[application] += requests
    return sums


def difference(expected: Counter, found: Counter) -> list[str]:
    keys = sorted(key for key in expected.keys() | found.keys() if expected[key] != found[key])
    return [f"{key}: {expected[key]}, found {found[key]}" for key in keys]


class Killer(threading.Thread):
    """Kills a process at random moments, and starts it again a moment later."""

    def __init__(self, home: Home, line: str, random, absence: float = 0.4):
        super().__init__(daemon=True)
        self.home, self.line, self.random, self.absence = home, line, random, absence
        self.over = threading.Event()
        self.kills = 0
        self.failure: str | None = None

    def run(self) -> None:
        process = self.home.start(self.line)
        while not self.over.wait(self.random.choice([0.1, 0.6, 1.5]) * self.random.random()):
            process.kill()
            if process.wait() != -signal.SIGKILL:
                self.failure = f"{self.line} ended by itself with {process.returncode}"
                return
            self.kills += 1
            self.over.wait(self.absence * self.random.random())
            process = self.home.start(self.line)
        process.kill()
        process.wait()

    def stop(self) -> None:
        self.over.set()
        self.join()
        must(self.failure is None, f"{self.failure}")
