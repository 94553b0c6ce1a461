"""Runs a program on given cores and weighs it; compares results; makes the table. Knows no program.

Time is from the start of the process to its end. Memory is the largest resident set that the kernel kept for the process and
those of its children that it waited for: the largest of them, not their sum (wait4); none of the programs has children that
matter. It is not less than that of launch.py, which starts them: see `least_memory`.
"""

import csv
import os
import statistics
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

HEADER = ["windowStart", "applicationName", "contact", "responseCount"]

LAUNCH = Path(__file__).with_name("launch.py")

# Rows shown of two results that differ.
SHOWN = 10


@dataclass(frozen=True)
class Run:
    """One run of one program: what it took."""

    seconds: float
    memory: int


def run(command: list, cores: int, out: Path, home: Path) -> Run:
    """Runs `command` on so many cores with its standard output in `out`; exits if it fails."""
    # What the environment of the caller says to Logtally is not part of the comparison.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOGTALLY_")}
    errors = out.with_suffix(".err")
    reader, writer = os.pipe()
    launch = [sys.executable, "-I", "-S", LAUNCH, str(writer), ",".join(map(str, chosen(cores)))]
    with open(out, "wb") as stdout, open(errors, "wb") as stderr, open(reader, encoding="ascii") as told:
        subprocess.run([*launch, *command], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=home,
                       env=environment, pass_fds=[writer], check=False)
        os.close(writer)
        seconds, memory, code = (told.read() or "0 0 -1").split()
    if code != "0":
        last = errors.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"{' '.join(map(str, command))}\nfailed with {code}:\n{last}")
    return Run(float(seconds), int(memory))


def chosen(cores: int) -> list:
    """The last cores of those that this process may use: the first one is where interrupts tend to be."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < cores:
        raise SystemExit(f"{cores} cores are wanted, and this process may use {len(usable)}")
    return usable[-cores:]


def least_memory(home: Path) -> int:
    """What a program that needs nothing is said to need."""
    return run(["true"], 1, home / "true.txt", home).memory


def rows_of_peer(path: Path) -> list:
    """The result of a peer as it wrote it."""
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    if header != HEADER:
        raise SystemExit(f"{path}: the header is {header}, not {HEADER}")
    return [(start, application, contact, int(count)) for start, application, contact, count in rows]


def rows_of_logtally(path: Path) -> list:
    """The rows of `replay --format csv`, summed over the response statuses and without those of zero."""
    sums: Counter = Counter()
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            sums[row["windowStart"], row["applicationName"], row["contact"]] += int(row["responseCount"])
    return [(*key, count) for key, count in sorted(sums.items()) if count]


def differences(ours: list, theirs: list) -> list:
    """The first rows in which the two differ, as text; none if they are the same, in the same order."""
    pairs = zip_longest(ours, theirs)
    different = ((number, a, b) for number, (a, b) in enumerate(pairs, 1) if a != b)
    return [f"row {number}: {a or 'nothing'} (ours), {b or 'nothing'}" for number, a, b in islice(different, SHOWN)]


def ratio(pairs: list) -> float:
    """How many times as long as ours: the median over pairs (theirs, ours) of runs next to each other."""
    return statistics.median(theirs.seconds / ours.seconds for theirs, ours in pairs)


def summary(lines: int, pairs: list, floor: list) -> dict:
    """What a row of the table is made of; `pairs` and `floor` are of one program and one number of cores."""
    runs = [theirs for theirs, _ in pairs]
    seconds = statistics.median(run.seconds for run in runs)
    return {
        "seconds": [round(run.seconds, 4) for run in runs],
        "seconds_of_ours": [round(ours.seconds, 4) for _, ours in pairs],
        "lines_per_second": round(lines / seconds),
        "times_ours": round(ratio(pairs), 3),
        "times_floor": round(seconds / statistics.median(run.seconds for run in floor), 1) if floor else None,
        "memory_bytes": max(run.memory for run in runs),
    }


def table(results: dict, cores: list, least: int) -> str:
    """Markdown. `results` is program → {"note": …, cores → summary}."""
    heads = ["program"]
    for count in cores:
        word = "core" if count == 1 else "cores"
        heads += [f"lines/s, {count} {word}", "time / ours", "time / `wc -l`", "memory"]
    rows = [[*heads, ""], ["---", *["---:"] * (len(heads) - 1), "---"]]
    for name, result in results.items():
        cells = [name]
        for count in cores:
            measured = result[count]
            floor = measured["times_floor"]
            cells += [f"{measured['lines_per_second'] / 1e6:.2f} M", f"{measured['times_ours']:.2f}",
                      "" if floor is None else f"{floor:.1f}", memory(measured["memory_bytes"], least)]
        rows.append([*cells, result["note"]])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def memory(amount: int, least: int) -> str:
    return f"{amount / 1e6:.0f} MB" if amount > least * 1.05 else f"≤ {least / 1e6:.0f} MB"
