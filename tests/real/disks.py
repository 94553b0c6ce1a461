"""The state directory on a small disk that is full, or read-only: said while it lasts, exact when it is over."""

import errno
import os
import subprocess
import time
from contextlib import contextmanager

from pipeline import Home, must, until
from writer import Truth, chunk

SIZE = "8m"
BUSY = "no space left; free some on its file system, nothing is lost meanwhile"

MOST_SAID = 40
"""Lines that a process may say of one fault, however often it tries."""


@contextmanager
def small_disk(home: Home):
    home.state.mkdir()
    mount("-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(home.state))
    try:
        yield
    finally:
        home.clean()
        subprocess.run(["umount", home.state], check=True)


def mount(*arguments: str) -> None:
    ended = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    must(ended.returncode == 0, f"mount {' '.join(arguments)}: {ended.stderr}")


def fill(home: Home) -> None:
    """Takes every byte that is left."""
    with (home.state / "filler").open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError as error:
                must(error.errno == errno.ENOSPC, f"filling: {error}")


def log(home: Home, random, truth: Truth, chunks: int) -> None:
    with home.log.open("ab") as file:
        for _ in range(chunks):
            file.write(chunk(random, truth))


def full(new_home, random) -> str:
    home, truth = new_home("access.log*"), Truth()
    with small_disk(home):
        log(home, random, truth, 2)
        process = home.start("run")
        until("something is published", lambda: home.published())
        fill(home)
        log(home, random, truth, 20)
        home.until_said(BUSY, process)
        # The pauses between attempts grow to 10 s, and one in ten attempts is told of.
        time.sleep(3)
        must(home.said().count(BUSY) < MOST_SAID, "said again and again")
        (home.state / "filler").unlink()
        until("it goes on by itself", lambda: home.published().total() > truth.counts.total() // 2)
        # Who starts on a full disk ends, and says why.
        process.kill()
        process.wait()
        fill(home)
        code, _, err = home.ended("run --once")
        must(code == 69 and BUSY in err, f"ended with {code}: {err}")
        (home.state / "filler").unlink()
        log(home, random, truth, 2)
        home.finish()
        home.assert_exact(truth.counts, truth.malformed)
    return f"{truth.lines} lines"


def read_only(new_home, random) -> str:
    home, truth = new_home("access.log*"), Truth()
    with small_disk(home):
        log(home, random, truth, 2)
        home.finish()
        before = home.reported()
        log(home, random, truth, 2)
        mount("-o", "remount,ro", str(home.state))
        code, out, err = home.ended("run --once")
        must(code in (69, 74) and "read-only" in err.splitlines()[-1].lower(), f"ended with {code}: {out}{err}")
        mount("-o", "remount,rw", str(home.state))
        must(home.reported() == before, "counted on a read-only disk")
        home.finish()
        home.assert_exact(truth.counts, truth.malformed)
    return f"{truth.lines} lines"


CASES = {"full disk": full, "read-only disk": read_only}
