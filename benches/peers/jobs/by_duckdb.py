"""The job with DuckDB. `by_duckdb.py regex|csv LOG REFERENCE THREADS`

`regex` takes each line apart with one regular expression. `csv` reads the log as lenient CSV of seven fields with quotes
between them, and their words with a short expression.
"""

import sys

import duckdb

# One column: a delimiter that no log holds, and no quotes.
REGEX = r"""
    SELECT field.host AS host, field.minute AS minute
    FROM (SELECT regexp_extract(line,
              '^([0-9A-Za-z._:-]+) [^ "]+ [^ "]+ \[(\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d):[0-5]\d \+0000\] "[^"]*" '
              || '(?:[1-9]\d\d|-) (?:\d+|-) "[^"]*" "[^"]*"$', ['host', 'minute']) AS field
          FROM read_csv($log, columns = {'line': 'VARCHAR'}, header = false, auto_detect = false, delim = '\x01',
                        quote = '', escape = '', comment = '', new_line = '\n', strict_mode = false))"""

# A line of more or fewer fields is skipped.
CSV = r"""
    SELECT field.host AS host, field.minute AS minute
    FROM (SELECT regexp_extract(head,
              '^([0-9A-Za-z._:-]+) [^ ]+ [^ ]+ \[(\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d):[0-5]\d \+0000\] $',
              ['host', 'minute']) AS field
          FROM read_csv($log, columns = {'head': 'VARCHAR', 'request': 'VARCHAR', 'sizes': 'VARCHAR', 'referer': 'VARCHAR',
                            'gap': 'VARCHAR', 'agent': 'VARCHAR', 'behind': 'VARCHAR'},
                        header = false, auto_detect = false, delim = '"', quote = '', escape = '', comment = '',
                        new_line = '\n', ignore_errors = true)
          WHERE regexp_full_match(sizes, ' ([1-9]\d\d|-) (\d+|-) ') AND gap = ' ' AND behind IS NULL)"""

# A line that no expression takes has no time. It is dropped behind the counts: a condition before them would be moved below
# the expression by the planner, which would then run twice.
JOB = """
    COPY (
        WITH counts AS MATERIALIZED (
            SELECT time_bucket(INTERVAL 5 MINUTES, time) AS start, owners.ApplicationName AS application, owners.Contact AS contact,
                   count(*) AS requests
            FROM (SELECT host, try_strptime(minute, '%d/%b/%Y:%H:%M') AS time FROM ({lines})) AS requests
            LEFT JOIN read_csv($reference, header = true, all_varchar = true) AS owners ON requests.host = owners.Host
            GROUP BY ALL)
        SELECT strftime(start, '%Y-%m-%dT%H:%M:%SZ') AS windowStart, coalesce(application, 'Unknown') AS applicationName,
               coalesce(contact, '') AS contact, requests AS responseCount
        FROM counts WHERE start IS NOT NULL ORDER BY ALL
    ) TO '/dev/stdout' (FORMAT csv, HEADER)"""


def main() -> None:
    way, log, reference, threads = sys.argv[1:]
    connection = duckdb.connect(config={"threads": threads, "preserve_insertion_order": "false"})
    job = JOB.format(lines={"regex": REGEX, "csv": CSV}[way])
    connection.execute(job, {"log": log, "reference": reference})


if __name__ == "__main__":
    main()
