"""A web server's log at full speed, and what is in it. Rotates nothing; reopens its log when it is told to."""

import os
import threading
import time
from collections import Counter
from pathlib import Path

APPLICATIONS = {
    "10.0.0.3": "Billing",
    "10.0.1.7": "Search",
    "web.example.com": "Shop",
    "10.9.9.9": "Unknown",
    "2001:db8::7": "Unknown",
}
CLASSES = {"200": "2xx", "304": "3xx", "404": "4xx", "500": "5xx", "-": "none"}
KINDS = [(host, response) for host in APPLICATIONS for response in CLASSES]

LINES_A_WRITE = 400
BURST_BYTES = 2_000_000
BURST_SECONDS = 0.4


class Truth:
    """What was written, counted by the writer: nothing of the product's has a say."""

    def __init__(self):
        self.counts = Counter()
        self.malformed = 0
        self.bytes = 0
        self.lines = 0


def chunk(random, truth: Truth, lines: int = LINES_A_WRITE, ahead: int = 0) -> bytes:
    """Some lines: mostly of this second by a clock that is ahead by so many, some late, a few that are none."""
    now = int(time.time()) + ahead
    stamps = [(second, stamp(second)) for second in (now, now, now, now - random.randrange(60))]
    text = []
    for _ in range(lines):
        truth.lines += 1
        if random.random() < 0.01:
            text.append(f"no line of a log, {truth.lines}\n")
            truth.malformed += 1
            continue
        second, said = random.choice(stamps)
        host, response = random.choice(KINDS)
        text.append(
            f'{host} - - [{said}] "GET /{truth.lines} HTTP/1.1" {response} {truth.lines % 5000} "-" "real/1.0"\n'
        )
        truth.counts[second, APPLICATIONS[host], CLASSES[response]] += 1
    data = "".join(text).encode()
    truth.bytes += len(data)
    return data


def stamp(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))


class Writer(threading.Thread):
    """Bursts of lines into `log`, until it is stopped.

    The file `reopen` beside the log tells it that the log was moved: it goes on in the old one for `linger` seconds,
    in both by turns, as a graceful restart of httpd does, and removes `reopen` when it is through. As long as `hold`
    is there it writes nothing, once it has put `held` beside it.
    """

    def __init__(self, log: Path, random, linger: float = 0):
        super().__init__(daemon=True)
        self.log, self.random, self.linger = log, random, linger
        self.truth = Truth()
        self.ahead = 0
        self.over = threading.Event()
        self.hold, self.held, self.reopen = (log.with_name(name) for name in ("hold", "held", "reopen"))
        self.file = self.open()

    def open(self) -> int:
        return os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def run(self) -> None:
        while not self.over.is_set():
            began, burst = time.monotonic(), 0
            while burst < BURST_BYTES and time.monotonic() < began + BURST_SECONDS and not self.over.is_set():
                self.heed()
                burst += self.write(self.file)
            self.over.wait(self.random.random() * 0.8)
            self.heed()

    def write(self, file: int) -> int:
        data = chunk(self.random, self.truth, ahead=self.ahead)
        # Sometimes a line comes in two pieces.
        cut = len(data) - 9 if self.random.random() < 0.2 else len(data)
        for part in (data[:cut], data[cut:]):
            if part:
                os.write(file, part)
        return len(data)

    def heed(self) -> None:
        if self.hold.exists():
            self.held.touch()
            while self.hold.exists() and not self.over.is_set():
                time.sleep(0.005)
        if self.reopen.exists():
            old, self.file = self.file, self.open()
            until = time.monotonic() + self.linger
            while time.monotonic() < until:
                self.write(self.random.choice([old, self.file]))
                time.sleep(0.02)
            os.close(old)
            self.reopen.unlink()

    def stop(self) -> Truth:
        self.over.set()
        self.join()
        os.close(self.file)
        return self.truth
