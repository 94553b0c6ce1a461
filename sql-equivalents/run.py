#!/usr/bin/env python3
"""Runs one of the queries beside this file over a log, with an engine that is not ours, and prints CSV.

    run.py duckdb|clickhouse|flink --log LOG --reference CSV --query response_counts|unknown_hosts

The engine comes from PyPI, pinned and hashed (requirements-ENGINE.txt), into target/sql-equivalents/ENGINE; nothing is
installed elsewhere. The number of lines read and refused goes to standard error.
"""

import argparse
import csv
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests" / "it"))

from virtual_environment import TARGET, made  # noqa: E402: what every test in Python goes through
HEADERS = {
    "response_counts": ["windowStart", "windowEnd", "applicationName", "contact", "response", "responseCount", "bytes"],
    "unknown_hosts": ["windowStart", "host", "requests"],
}


def duckdb(log: Path, reference: Path, query: str) -> list:
    import duckdb as engine

    connection = engine.connect()
    connection.execute("SET VARIABLE log = ?", [str(log)])
    connection.execute("SET VARIABLE reference = ?", [str(reference)])
    connection.execute(sql("prelude.duckdb.sql"))
    account(*connection.execute("SELECT (SELECT count(*) FROM matches), (SELECT count(*) FROM malformed)").fetchone())
    return connection.execute(sql(f"{query}.duckdb.sql")).fetchall()


def clickhouse(log: Path, reference: Path, query: str) -> list:
    import json

    from chdb.session import Session

    session = Session()
    paths = {"log": str(log), "reference": str(reference)}
    for name, value in paths.items():
        session.query(f"SET param_{name} = '{escaped(value)}'")
    for statement in statements(sql("prelude.clickhouse.sql")):
        session.query(statement)
    lines = session.query("SELECT (SELECT count() FROM matches), (SELECT count() FROM malformed)", "TabSeparated")
    account(*map(int, str(lines).split()))
    session.query("SET output_format_json_quote_64bit_integers = 0")
    rows = session.query(sql(f"{query}.clickhouse.sql"), "JSONCompactEachRow")
    return [json.loads(row) for row in str(rows).splitlines()]


def flink(log: Path, reference: Path, query: str) -> list:
    from pyflink.table import EnvironmentSettings, TableEnvironment

    table_environment = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    table_environment.get_config().set("parallelism.default", "1").set_local_timezone("UTC")
    tables = sql("prelude.flink.sql").replace("${log}", escaped(str(log))).replace("${reference}", escaped(str(reference)))
    for statement in statements(tables):
        table_environment.execute_sql(statement)
    with table_environment.execute_sql(sql(f"{query}.flink.sql")).collect() as rows:
        return [list(row) for row in rows]


ENGINES = {"duckdb": duckdb, "clickhouse": clickhouse, "flink": flink}


def sql(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def statements(script: str) -> list:
    """Our own scripts only: no statement of them holds a semicolon but at its end."""
    code = "\n".join(line.split("--")[0] for line in script.splitlines())
    return [statement for statement in code.split(";") if statement.strip()]


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "''")


def account(lines: int, refused: int) -> None:
    print(f"{lines} lines read, {refused} refused", file=sys.stderr)


def enter_venv(engine: str) -> None:
    """Goes on inside the engine's virtual environment; makes it first, or again if the requirements changed."""
    home = TARGET / "sql-equivalents" / engine
    if Path(sys.prefix) == home:
        return
    python = made(home, HERE / f"requirements-{engine}.txt")
    os.execv(python, [str(python), str(Path(__file__).resolve()), *sys.argv[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--query", choices=HEADERS, required=True)
    arguments = parser.parse_args()
    for file in (arguments.log, arguments.reference):
        if not file.is_file():
            sys.exit(f"run.py: {file} is no file")
    enter_venv(arguments.engine)
    rows = ENGINES[arguments.engine](arguments.log.resolve(), arguments.reference.resolve(), arguments.query)
    sys.stdout.reconfigure(encoding="utf-8", newline="")
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(HEADERS[arguments.query])
    out.writerows(rows)


if __name__ == "__main__":
    main()
