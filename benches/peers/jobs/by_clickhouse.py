"""The job with ClickHouse, as chDB. `by_clickhouse.py split|regex LOG REFERENCE THREADS`

`split` takes each line apart at its quotes and the parts at their spaces, `regex` with one regular expression.
"""

import sys

from chdb.session import Session

SPLIT = r"""
    SELECT words[1] AS host, substring(words[4], 2, 17) AS minute
    FROM (SELECT splitByChar('"', line) AS parts, splitByChar(' ', parts[1]) AS words
          FROM file({log:String}, 'LineAsString', 'line String')
          WHERE length(parts) = 7 AND length(words) = 6 AND words[5] = '+0000]' AND startsWith(words[4], '[')
                AND match(parts[3], '^ ([1-9]\\d\\d|-) (\\d+|-) $') AND parts[5] = ' ' AND parts[7] = '')"""

REGEX = r"""
    SELECT groups[1] AS host, groups[2] AS minute
    FROM (SELECT extractGroups(line,
              '^([0-9A-Za-z._:-]+) [^ "]+ [^ "]+ \\[(\\d\\d/[A-Z][a-z][a-z]/\\d{4}:\\d\\d:\\d\\d):[0-5]\\d \\+0000\\] "[^"]*" '
              || '(?:[1-9]\\d\\d|-) (?:\\d+|-) "[^"]*" "[^"]*"$') AS groups
          FROM file({log:String}, 'LineAsString', 'line String'))"""

# A line that no expression takes has an empty minute, and so no time. Mapped into memory, as chDB does by itself, the whole log
# would count as memory of the process.
JOB = """
    SELECT formatDateTime(start, '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS windowStart,
           if(owners.Host = '', 'Unknown', owners.ApplicationName) AS applicationName, owners.Contact AS contact,
           sum(requests) AS responseCount
    FROM (SELECT host, toStartOfFiveMinutes(assumeNotNull(time)) AS start, 1 AS requests
          FROM (SELECT host, parseDateTimeOrNull(minute, '%d/%b/%Y:%H:%i', 'UTC') AS time FROM ({lines}))
          WHERE time IS NOT NULL) AS requests
    LEFT JOIN file({{reference:String}}, 'CSVWithNames', 'Host String, ApplicationName String, Contact String') AS owners
           ON requests.host = owners.Host
    GROUP BY start, applicationName, contact ORDER BY start, applicationName, contact
    SETTINGS max_threads = {threads}, max_parsing_threads = {threads}, storage_file_read_method = 'pread'"""


def main() -> None:
    way, log, reference, threads = sys.argv[1:]
    session = Session()
    for name, value in {"log": log, "reference": reference}.items():
        session.query(f"SET param_{name} = '{value}'")
    job = JOB.format(lines={"split": SPLIT, "regex": REGEX}[way], threads=threads)
    print(session.query(job, "CSVWithNames"), end="")


if __name__ == "__main__":
    main()
