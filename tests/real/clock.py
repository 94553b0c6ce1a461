"""The clock is set while the binary runs: forward, back, and back before everything that it has read. Sets no real clock.

libfaketime shows the binary another time of day than the kernel's. Its monotonic clock, which timers go by, is the
kernel's, as it is where a real clock is set.
"""

import re
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from pipeline import DEADLINE, Home, must, until
from rotation import CREATE, Logrotate, random_of
from writer import Writer

HOUR, DAY = 3_600, 86_400

JUMPS = [HOUR, 0, DAY + HOUR, DAY, -HOUR, 0]
"""What the clock is ahead by, one after the other, in seconds. Records are kept for a day."""

FORWARD = re.compile(r"the clock went on by (\d+) s at once")
BACK = re.compile(r"the clock was set back: it is (\d+) s behind")

SLACK = 120
"""Seconds that a jump may be told wrong by: the machine is busy."""


class Clock:
    """What the processes of a pipeline believe the time to be."""

    def __init__(self, home: Home):
        self.home, self.file = home, home.directory / "ahead"
        self.ahead = self.furthest = 0
        libraries = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        must(len(libraries) == 1, f"not one libfaketime: {libraries}")
        self.write()
        home.environment |= {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def write(self) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(f"{self.ahead:+}s\n")
        new.rename(self.file)

    def set(self, ahead: int) -> None:
        """Returns once the pipeline has seen it, and said so."""
        said = len(self.home.said())
        jump = ahead - self.ahead
        self.ahead, self.furthest = ahead, max(self.furthest, ahead)
        self.write()
        expected = jump if jump > 0 else self.furthest - ahead

        def heard() -> bool:
            amounts = (FORWARD if jump > 0 else BACK).findall(self.home.said()[said:])
            return any(abs(int(amount) - expected) < SLACK for amount in amounts)

        until(f"said that the clock was set by {jump} s", heard)
        stamp = time.time() + self.furthest
        until(f"records arrive at {stamp}", lambda: abs(self.latest() - stamp) < SLACK)

    def latest(self) -> float:
        """When the last record arrived, as the state has it: the clock's time, but never before an earlier one's."""
        with closing(sqlite3.connect(self.home.database, timeout=DEADLINE)) as connection:
            [(millis,)] = connection.execute("SELECT max(last_arrival) FROM shard")
        return millis / 1_000


def goes_on(home: Home) -> None:
    """Waits for metrics: the clock holds up nothing."""
    before = home.published().total()
    until("metrics go on", lambda: home.published().total() > before)


def jumping(lines_follow: bool):
    """The lines' stamps follow the clock, as on one machine, or they do not, as from another one's."""

    def case(new_home, random) -> str:
        home = new_home("access.log*")
        clock = Clock(home)
        logrotate = Logrotate(home, [CREATE, "compress"], 1000)
        writer = Writer(home.log, random_of(random))
        process = home.start("run")
        writer.start()
        until("something is published", lambda: home.published())
        for ahead in JUMPS:
            if lines_follow:
                writer.ahead = ahead
            clock.set(ahead)
            logrotate.rotate()
            goes_on(home)
            process.kill()
            must(process.wait() == -signal.SIGKILL, f"ended by itself with {process.returncode}")
            time.sleep(random.random() * 0.4)
            process = home.start("run")
            goes_on(home)
        truth = writer.stop()
        home.stop(process)
        # What was open when the clock was set back is over when that time is.
        clock.ahead = clock.furthest + 60
        clock.write()
        home.finish()
        home.assert_exact(truth.counts, truth.malformed)
        return f"{truth.lines} lines, {truth.bytes / 1e6:.1f} MB, the clock set {len(JUMPS)} times"

    return case


CASES = {"a clock that is set": jumping(True), "a clock that is set, and lines of another": jumping(False)}
