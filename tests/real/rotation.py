"""logrotate and rotatelogs under a writer at full speed and a producer that is killed: every line, once.

Where bytes were destroyed before anyone could read them, no line is counted that was not written, every line that is
still in a file is counted, and the producer says that something may be lost.
"""

import calendar
import gzip
import os
import re
import subprocess
import time
from collections import Counter
from pathlib import Path

from pipeline import DEADLINE, Home, Killer, Wrong, bytes_read, must, until
from writer import APPLICATIONS, CLASSES, Truth, Writer, chunk

LINE = re.compile(rb'^(\S+) - - \[([^\]]+)\] "GET /\d+ HTTP/1\.1" (\S+) \d+ "-" "real/1\.0"$')

ROTATIONS = 4

SURELY_SEEN = 1_100_000
"""Two chunks of a log: who has read as much has seen how long it is, and no process reads as much that only waits."""

PIPE_LINES = 30
"""As many lines as a pipe takes at once, 4096 bytes."""

CREATE = "create 0644"
COPY = "copytruncate"
REOPEN = "touch reopen; while [ -e reopen ]; do sleep 0.01; done"
HOLD = "touch hold; while [ ! -e held ]; do sleep 0.01; done"
GO_ON = "rm -f hold held"

MODES = {
    # Name: options, seconds that the writer goes on in the old file, whether it waits while its log is copied.
    "create": ([CREATE], 0.2, False),
    "create, compress": ([CREATE, "compress"], 0, False),
    "create, compress, delaycompress": ([CREATE, "compress", "delaycompress"], 0.2, False),
    "create, dateext, compress, delaycompress": (
        [CREATE, "dateext", "dateformat -%Y%m%d-%s", "compress", "delaycompress"],
        0.2,
        False,
    ),
    "create, olddir, compress": ([CREATE, "olddir old", "compress"], 0, False),
    "create, olddir, dateext": ([CREATE, "olddir old", "dateext", "dateformat -%Y%m%d-%s"], 0.2, False),
    "copytruncate, writer waits": ([COPY], 0, True),
    "copytruncate, compress, writer waits": ([COPY, "compress"], 0, True),
    "copytruncate, olddir, dateext, compress, delaycompress, writer waits": (
        [COPY, "olddir old", "dateext", "dateformat -%s", "compress", "delaycompress"],
        0,
        True,
    ),
    "copytruncate": ([COPY], 0, False),
    "copytruncate, compress": ([COPY, "compress"], 0, False),
}


class Logrotate:
    """logrotate itself, with a configuration and a state of its own."""

    def __init__(self, home: Home, options: list[str], keep: int, linger: float = 0, waits: bool = False):
        self.home = home
        (home.directory / "old").mkdir(exist_ok=True)
        scripts = []
        if waits:
            scripts = [("prerotate", HOLD), ("postrotate", GO_ON)]
        elif CREATE in options:
            # Who lingers is told, and not waited for: that is what delaycompress is for.
            scripts = [("postrotate", "touch reopen" if linger else REOPEN)]
        lines = [*options, f"rotate {keep}", "missingok", "nomail"]
        for name, script in scripts:
            lines += [name, f"cd {home.directory}; {script}", "endscript"]
        self.config = home.directory / "logrotate.conf"
        self.config.write_text("\n".join([f"{home.log} {{", *lines, "}", ""]))
        self.config.chmod(0o644)

    def rotate(self) -> None:
        command = ["logrotate", "--force", "--state", self.home.directory / "logrotate.state", self.config]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        must(ended.returncode == 0 and not ended.stderr, f"logrotate: {ended.returncode} {ended.stderr}")


def with_logrotate(mode: str):
    options, linger, waits = MODES[mode]

    def case(new_home, random) -> str:
        home = new_home("access.log*", "old/*")
        logrotate = Logrotate(home, options, 1000, linger, waits)
        writer = Writer(home.log, random_of(random), linger)
        killer = Killer(home, random.choice(["run", "produce"]), random_of(random))
        writer.start()
        killer.start()
        for _ in range(ROTATIONS):
            # No two rotations in a second: dateext has but one name for both.
            time.sleep(1 + random.random() / 2)
            until("the writer reopened its log", lambda: not writer.reopen.exists())
            logrotate.rotate()
        time.sleep(random.random() / 2)
        truth = writer.stop()
        killer.stop()
        home.finish()
        said = f"{told(truth, killer)}, {ROTATIONS} rotations"
        if COPY in options and not waits:
            return f"{said}, {assert_bounded(home, truth)}"
        home.assert_exact(truth.counts, truth.malformed)
        return said

    return case


def random_of(random):
    return type(random)(random.random())


def told(truth: Truth, killer: Killer) -> str:
    return f"{truth.lines} lines, {truth.bytes / 1e6:.1f} MB, {killer.line} killed {killer.kills} times"


def contents(directory: Path) -> tuple[Counter, int]:
    """Whole lines in the logs that are still there, and how many files end within one."""
    counts, torn = Counter(), 0
    for path in [*directory.glob("access.log*"), *directory.glob("old/*")]:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        *lines, rest = data.split(b"\n")
        torn += bool(rest)
        for line in lines:
            if found := LINE.match(line):
                host, stamp, response = (part.decode() for part in found.groups())
                second = calendar.timegm(time.strptime(stamp, "%d/%b/%Y:%H:%M:%S +0000"))
                counts[second, APPLICATIONS[host], CLASSES[response]] += 1
    return counts, torn


def assert_bounded(home: Home, truth: Truth) -> str:
    """Bytes were destroyed between copy and truncation: nothing else may be missing, and nothing counted twice."""
    kept, torn = contents(home.directory)
    found = home.published()
    over = sum((found - truth.counts).values())
    under = sum((kept - found).values())
    must(over <= torn, f"{over} lines too many, and {torn} copies end within a line")
    must(under == 0, f"{under} lines are in the logs and were not counted")
    home.assert_balanced()
    lost = truth.counts.total() - found.total()
    if lost > 0:
        must("truncated or replaced after" in home.said(), f"{lost} lines are lost, and nothing is said")
    return f"{truth.counts.total() - kept.total()} lines destroyed, {lost} of them unread" + ", which was said" * (lost > 0)


def with_rotatelogs(arguments: list[str], name: str):
    def case(new_home, random) -> str:
        home = new_home("logs/access*")
        (home.directory / "logs").mkdir()
        # The last argument says when: it stands behind the name.
        *options, when = arguments
        command = ["rotatelogs", *options, f"logs/{name}", when]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=home.directory)
        killer = Killer(home, random.choice(["run", "produce"]), random_of(random))
        killer.start()
        truth = Truth()
        end = time.monotonic() + 6
        while time.monotonic() < end:
            for _ in range(random.randrange(400)):
                # As httpd writes: whole lines, in writes that a pipe takes as one. rotatelogs would tear others.
                os.write(server.stdin.fileno(), chunk(random, truth, PIPE_LINES))
            time.sleep(random.random() * 0.6)
        server.stdin.close()
        must(server.wait() == 0, "rotatelogs failed")
        killer.stop()
        home.finish()
        home.assert_exact(truth.counts, truth.malformed)
        files = len(list(home.directory.glob("logs/*")))
        must(files > 2, f"{files} files: rotatelogs has not rotated")
        return f"{told(truth, killer)}, {files} files"

    return case


def deleted_while_down(new_home, random) -> str:
    """The producer is down while its log is rotated away for good: the rest of it is lost, and that is said."""
    home = new_home("access.log*")
    logrotate = Logrotate(home, [CREATE], 1)
    before, lost, after = Truth(), Truth(), Truth()
    write(home.log, chunk(random, before))
    home.result("run --once")
    write(home.log, chunk(random, lost))
    logrotate.config.write_text(re.sub(r"postrotate.*?endscript", "", logrotate.config.read_text(), flags=re.S))
    logrotate.rotate()
    logrotate.rotate()
    write(home.log, chunk(random, after))
    home.finish()
    home.assert_exact(before.counts + after.counts, before.malformed + after.malformed)
    gone = f"gone, and no copy or compressed form of it was found; {before.bytes} bytes were read"
    must(gone in home.said(), f"{lost.bytes} bytes are lost, and nothing is said")
    return f"{lost.bytes} bytes were deleted unread, which was said"


def emptied_while_down(new_home, random) -> str:
    """Emptied without a copy while the producer is down; what is written then outgrows what was there."""
    home = new_home("access.log*")
    logrotate = Logrotate(home, [COPY], 0)
    before, lost, after = Truth(), Truth(), Truth()
    write(home.log, chunk(random, before))
    home.result("run --once")
    write(home.log, chunk(random, lost))
    logrotate.rotate()
    write(home.log, b"".join(chunk(random, after) for _ in range(4)))
    home.finish()
    home.assert_exact(before.counts + after.counts, before.malformed + after.malformed)
    must(
        f"truncated or replaced after {before.bytes} bytes were read" in home.said(),
        f"{lost.bytes} bytes are lost, and nothing is said",
    )
    return f"{lost.bytes} bytes were emptied unread, which was said"


def emptied_while_behind(new_home, random) -> str:
    """Emptied without a copy while the producer waits for its database: of what it has seen it says how much is lost."""
    home = new_home("access.log")
    logrotate = Logrotate(home, [COPY], 0)
    truth, after = Truth(), Truth()
    data = chunk(random, truth)
    write(home.log, data)
    process = home.start("run")
    until("something is published", lambda: home.published())
    # More than is read ahead of a database that takes nothing.
    more = b"".join(chunk(random, truth) for _ in range(250)) * 5
    data += fill_and_empty(home, logrotate, process, more)
    write(home.log, chunk(random, after))
    home.until_said("bytes are lost", process)
    home.stop(process)
    home.finish()
    read, lost = re.findall(r"(\d+) bytes were read \(generation 1\); at least (\d+) bytes are lost", home.said())[0]
    must(int(read) + int(lost) <= len(data), f"{read} and {lost} bytes are more than were written")
    read_lines = data[: int(read)].count(b"\n") + after.lines
    counted = home.published().total() + home.malformed()
    must(counted == read_lines, f"{counted} lines are counted, and {read_lines} were read")
    home.assert_balanced()
    return f"{len(data)} bytes, {read} read and at least {lost} lost, which was said"


def fill_and_empty(home: Home, logrotate: Logrotate, process: subprocess.Popen, more: bytes) -> bytes:
    """Writes more than the process reads while its database is locked, and empties the log as soon as it has seen it.

    A process that waits for the lock already sees nothing of the log: then it is let go, and it is done again.
    """
    written = b""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        written += more
        with home.locked():
            before = bytes_read(process)
            write(home.log, more)
            seen = time.monotonic() + 2
            while time.monotonic() < seen:
                time.sleep(0.02)
                if bytes_read(process) > before + SURELY_SEEN:
                    logrotate.rotate()
                    return written
    raise Wrong("the process never looked at its log")


def write(log: Path, data: bytes) -> None:
    with log.open("ab") as file:
        file.write(data)


CASES = {f"logrotate {mode}": with_logrotate(mode) for mode in MODES}
CASES |= {
    "rotatelogs by size": with_rotatelogs(["1M"], "access.log"),
    "rotatelogs by time": with_rotatelogs(["1"], "access-%Y%m%d-%H%M%S.log"),
    "rotatelogs in a circle": with_rotatelogs(["-n", "1000", "1M"], "access.log"),
    "deleted while the producer is down": deleted_while_down,
    "emptied while the producer is down": emptied_while_down,
    "emptied while the producer is behind": emptied_while_behind,
}
