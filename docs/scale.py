#!/usr/bin/env python3
"""The tables of docs/scale.md, from the figures below and the prices of docs/try-on-aws.md. Measures nothing.

    python3 docs/scale.py             prints the tables
    python3 docs/scale.py --update    puts them into docs/scale.md, between its marks
"""

import re
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path

HERE = Path(__file__).resolve().parent
PRICE_PAGE = (HERE / "try-on-aws.md").read_text()
DAY, MONTH = 86_400, 30

# Measured: replace a figure, run `--update`, and read the difference.
LINE_BYTES = 245
ZSTD = 6.6
ANALYZE_SECONDS, ANALYZE_MB = 1.82, 1_024
PRODUCE_SECONDS, PRODUCE_MB = 0.64, 293
RUN_SECONDS, RUN_LINES = 8.4, 10_000_000
STREAM_MB = 676
LOOK_READS = 0.00615
SHARD_WRITES = 0.330
MEASURED = (
    ("bytes of a line", f"{LINE_BYTES}", "`cargo run --release --example generate -- --out access.log`, `wc`"),
    ("lines in zstd", f"1 / {ZSTD}", "blocks of 57 KB of that log, level 3"),
    ("`analyze` on Kinesis", f"{ANALYZE_SECONDS} CPU s for {ANALYZE_MB} MB of lines, plain", "`benches/kinesis --only analyze --shards 32`, before its last change"),
    ("`produce` to Kinesis", f"{PRODUCE_SECONDS} CPU s for {PRODUCE_MB} MB of lines", "an endpoint that answers from memory, `/usr/bin/time`"),
    ("`run` on one machine", f"{RUN_SECONDS} CPU s for {RUN_LINES:,} lines", "`/usr/bin/time -v logtally run --once`"),
    ("its stream", f"{STREAM_MB} MB/s written and read back", "`cargo bench --bench stream -- 4096`"),
    ("looks at leases", f"{LOOK_READS:.5f} read units/s a worker and lease", "`cargo run --release --no-default-features --example leases`, RCU/s of *one dies*"),
    ("renewals and cuts", f"{SHARD_WRITES} write units/s a shard", "the same, WCU/s"),
)

# Assumed, as docs/try-on-aws.md does where it says so.
LINES_A_FILE = 1_000
PEAK = 2
ROOM = 4 / 3
APPLICATIONS, STATUSES, WINDOWS = 100, 4, 288
ROW_BYTES = 260
ROWS_SECONDS = 60
RECORDS_A_SECOND = 5
ANALYZE_CALLS = 10_080
DELIVER_CALLS = 1_008
CALL_SECONDS = 1
ANALYZE_GB, DELIVER_GB = 0.5, 0.1875
LEDGER_UNITS = 60
WORKER_SAVES = DAY / 15 + WINDOWS
WORKER_CORES = 0.4
STAGES = 2
LOOK_SECONDS, LIST_SECONDS = 10.07, 20.15

# Defaults of the services in us-east-1; all but the payload of Lambda are raised on request.
QUOTAS = {
    "shards of the account": 20_000,
    "Lambda concurrency": 1_000,
    "read units/s of a table": 40_000,
    "write units/s of a table": 40_000,
    "PutMetricData/s": 500,
    "ListShards/s of a stream": 1_000,
}
PAYLOAD_MB = 6


def price(text: str) -> float:
    """The dollars in front of `text` on the page of prices."""
    found = re.search(r"\$([\d.]+) " + re.escape(text), PRICE_PAGE)
    if found is None:
        sys.exit(f"docs/try-on-aws.md has no price “{text}”")
    return float(found[1])


SHARD_DAY = 24 * price("a shard and hour")
PUT_UNIT = price("a million PUT payload units") / 1e6
WRITE_UNIT = price("a million write units") / 1e6
READ_UNIT = price("a million read units") / 1e6
PUT_METRIC = price("a thousand PutMetricData") / 1e3
METRIC_DAY = price("a metric and month") / MONTH
LAMBDA_CALL = price("a million requests") / 1e6
LAMBDA_GB_SECOND = price("a GB-second")
S3_GET, S3_PUT = price("a thousand GET") / 1e3, price("a thousand PUT") / 1e3
WORKER_DAY = 24 * price("an hour")


@dataclass
class Way:
    """So many requests a second, in zstd or plain, by functions or by workers."""

    requests: float
    files: int
    ratio: float
    by_workers: bool

    @property
    def plain_mb(self) -> float:
        return self.requests * LINE_BYTES / 1e6

    @property
    def records(self) -> float:
        return self.files * RECORDS_A_SECOND

    @property
    def shards(self) -> int:
        """By bytes and by records of the peak, with room to spare."""
        bytes_ = self.plain_mb * PEAK / self.ratio
        return ceil(max(bytes_, self.records / 1_000) * ROOM)

    @property
    def output_shards(self) -> int:
        """A window's rows of every shard, within a minute."""
        rows = self.shards * APPLICATIONS * STATUSES * ROW_BYTES
        return ceil(rows / ROWS_SECONDS / 1e6 * ROOM)

    @property
    def workers(self) -> int:
        cores = self.plain_mb * PEAK * ANALYZE_SECONDS / ANALYZE_MB
        return max(2, ceil(cores / WORKER_CORES))

    @property
    def analyze_calls(self) -> float:
        by_payload = self.plain_mb / self.ratio * 4 / 3 / PAYLOAD_MB * DAY
        return max(self.shards * ANALYZE_CALLS, by_payload)

    @property
    def deliver_calls(self) -> float:
        """One for what each shard publishes, or one a second and output shard that takes all there is."""
        return min(self.shards * DELIVER_CALLS, self.output_shards * DAY)

    @property
    def leases(self) -> int:
        return self.shards + self.output_shards

    @property
    def reads(self) -> float:
        """A look of a worker's stage goes through the leases of both, and costs half a unit at least."""
        look = max(self.leases * LOOK_READS, 0.5 / LOOK_SECONDS)
        return self.workers * STAGES * look if self.by_workers else self.analyze_calls / DAY

    @property
    def writes(self) -> float:
        cuts = self.leases * SHARD_WRITES if self.by_workers else self.analyze_calls / DAY
        return cuts + self.deliver_calls * LEDGER_UNITS / DAY

    def kinesis(self) -> float:
        units = ceil(self.plain_mb * 1e6 / self.records / self.ratio / 25_000)
        records = self.records * DAY * units * PUT_UNIT
        return records + (self.shards + self.output_shards) * SHARD_DAY

    def computing(self) -> float:
        if self.by_workers:
            return self.workers * WORKER_DAY
        analyze = self.analyze_calls * (LAMBDA_CALL + ANALYZE_GB * CALL_SECONDS * LAMBDA_GB_SECOND)
        deliver = self.deliver_calls * (LAMBDA_CALL + DELIVER_GB * CALL_SECONDS * LAMBDA_GB_SECOND)
        return analyze + deliver

    def state(self) -> float:
        """DynamoDB, and the cuts in S3."""
        units = DAY * (self.reads * READ_UNIT + self.writes * WRITE_UNIT)
        if self.by_workers:
            return units + self.shards * WORKER_SAVES * S3_PUT
        return units + self.analyze_calls * (S3_PUT + S3_GET)

    def calls(self) -> float:
        return self.deliver_calls * PUT_METRIC

    def day(self) -> float:
        return self.kinesis() + self.computing() + self.state() + self.calls()

    def saturation(self) -> list[tuple[float, str]]:
        needs = {
            "shards of the account": self.shards + self.output_shards,
            "Lambda concurrency": 0 if self.by_workers else self.leases,
            "read units/s of a table": self.reads,
            "write units/s of a table": self.writes,
            "PutMetricData/s": self.deliver_calls / DAY,
            "ListShards/s of a stream": self.workers * ceil(self.shards / 1_000) / LIST_SECONDS if self.by_workers else 0,
        }
        return sorted(((need / QUOTAS[what], what) for what, need in needs.items()), reverse=True)


def ways(requests: int) -> list[tuple[str, Way]]:
    files = max(1, requests // LINES_A_FILE)
    return [
        ("zstd, functions", Way(requests, files, ZSTD, by_workers=False)),
        ("zstd, workers", Way(requests, files, ZSTD, by_workers=True)),
        ("plain, functions", Way(requests, files, 1, by_workers=False)),
        ("plain, workers", Way(requests, files, 1, by_workers=True)),
    ]


DECADES = [10**power for power in range(3, 8)]


def table(head: list[str], rows: list[list[str]]) -> str:
    line = "|" + "|".join([" --- "] + [" ---: "] * (len(head) - 1)) + "|"
    cells = [f"| {' | '.join(row)} |" for row in [head, *rows]]
    return "\n".join([cells[0], line, *cells[1:]])


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def money(value: float) -> str:
    return f"${value:,.0f}"


def measured() -> str:
    rows = [f"| {what} | {figure} | {command} |" for what, figure, command in MEASURED]
    return "\n".join(["| measured | | with |", "| --- | --- | --- |", *rows])


def sizes() -> str:
    head = ["requests/s", "MB/s of lines", "shards, zstd", "plain", "output shards, zstd", "plain", "cores of `produce`",
            "workers", "calls of functions/s", "functions at once, zstd", "plain"]
    rows = []
    for requests in DECADES:
        zstd, plain = ways(requests)[0][1], ways(requests)[2][1]
        calls = (zstd.analyze_calls + zstd.deliver_calls) / DAY
        cores = zstd.plain_mb * PRODUCE_SECONDS / PRODUCE_MB
        values = [zstd.shards, plain.shards, zstd.output_shards, plain.output_shards, cores, zstd.workers, calls,
                  zstd.leases, plain.leases]
        shown = [f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" for value in values]
        rows.append([f"{requests:,}", number(zstd.plain_mb), *shown])
    return table(head, rows)


def units() -> str:
    head = ["requests/s", "way", "read units/s", "write units/s", "PutMetricData a day", "fullest quota", "share of it",
            "next", "share"]
    rows = []
    for requests in DECADES:
        for name, way in ways(requests):
            (first, what), (second, other) = way.saturation()[:2]
            values = [number(way.reads), number(way.writes), number(way.deliver_calls)]
            rows.append([f"{requests:,}", name, *values, what, f"{first:.1%}", other, f"{second:.1%}"])
    return table(head, rows)


def costs() -> str:
    head = ["requests/s", "way", "Kinesis", "computing", "state", "PutMetricData", "a month", "a billion requests"]
    rows = []
    for requests in DECADES:
        for name, way in ways(requests):
            parts = [way.kinesis(), way.computing(), way.state(), way.calls()]
            billions = requests * DAY / 1e9
            rows.append([f"{requests:,}", name, *(money(part * MONTH) for part in parts), money(way.day() * MONTH),
                         f"${way.day() / billions:,.2f}"])
    series = APPLICATIONS * (1 + STATUSES) + 7
    metrics = f"And the metrics themselves, at every size: {series} series, {money(series * METRIC_DAY * MONTH)} a month."
    return f"{table(head, rows)}\n\n{metrics}"


def one_machine() -> str:
    head = ["requests/s", "cores of `run`", "MB/s into its stream", "share of what the stream took"]
    rows = []
    for requests in DECADES:
        mb = requests * LINE_BYTES / 1e6
        rows.append([f"{requests:,}", f"{requests * RUN_SECONDS / RUN_LINES:.3f}", number(mb), f"{mb / STREAM_MB:.1%}"])
    return table(head, rows)


def check() -> None:
    """The day that docs/try-on-aws.md calculates by hand comes to the same."""
    by_hand = re.search(r"\*\*sum\*\* \| 6\.4 % of the above \| \*\*\$([\d.]+)\*\*", PRICE_PAGE)
    day = Way(1e9 / DAY, 10, 6, by_workers=False).day()
    if by_hand is None or abs(day - float(by_hand[1])) > 0.05:
        sys.exit(f"docs/try-on-aws.md comes to {by_hand and by_hand[1]} a day, this to {day:.2f}")


TABLES = {"measured": measured, "sizes": sizes, "units": units, "costs": costs, "one machine": one_machine}


def main() -> None:
    check()
    if sys.argv[1:] == ["--update"]:
        page = HERE / "scale.md"
        text = page.read_text()
        for name, make in TABLES.items():
            begin, end = f"<!-- {name} -->\n", "<!-- end -->"
            before, _, rest = text.partition(begin)
            text = before + begin + "\n" + make() + "\n\n" + end + rest.partition(end)[2]
        page.write_text(text)
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        for name, make in TABLES.items():
            print(f"<!-- {name} -->\n\n{make()}\n\n<!-- end -->")


if __name__ == "__main__":
    main()
