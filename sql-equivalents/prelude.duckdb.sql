-- What both queries stand on: the log as `requests`, and its hosts with their owners as `owners`.
-- Expects the variables `log` and `reference` (SET VARIABLE log = 'access.log').

-- Lines. read_csv is told not to read CSV: a delimiter that no log holds, no quotes, and one character per byte. A raw
-- carriage return still ends a line; httpd writes it as \r.
CREATE OR REPLACE TEMP VIEW lines AS
SELECT coalesce(line, '') AS line
FROM read_csv(getvariable('log'), columns = {'line': 'VARCHAR'}, header = false, auto_detect = false,
              delim = E'\x01\x02\x03\x04', quote = '', escape = '', comment = '', encoding = 'latin-1',
              new_line = '\n', strict_mode = false, max_line_size = 8388608);

-- Apache's combined format, strictly. A user name may hold spaces and brackets: it ends at the last ` [` before the
-- stamp, and the stamp is what `] "` follows, for httpd writes a quote inside a user name as \". Further fields may
-- follow: quoted, or bare without quotes and brackets.
CREATE OR REPLACE TEMP TABLE matches AS
SELECT line, regexp_extract(line,
    '^([0-9A-Za-z_.:-]+(?:%[0-9A-Za-z_.-]+)?) ([^ "\x00-\x1f\x7f]+) (""|(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])+)'
    || ' \[(\d\d/(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/\d{4}:(?:[01]\d|2[0-3]):[0-5]\d):([0-5]\d|60)'
    || ' ([+-])([01]\d|2[0-3])([0-5]\d)\]'
    || ' "(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*" (-|\d{3}) (-|\d{1,20})'
    || '(?: "(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"){2}'
    || '(?: (?:"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"|[^ "\[\]\x00-\x1f\x7f]+))*\r?$',
    ['host', 'ident', 'authuser', 'minute', 'second', 'sign', 'zone_hours', 'zone_minutes', 'response', 'bytes']) AS field
FROM lines;

-- A user name of several words is taken only if none of it can be a second record: two lines torn into one leave a host,
-- an identity and a user (mostly `-`) where the user name stands. A user of one word cannot be that.
CREATE OR REPLACE TEMP MACRO torn(field) AS
    contains(field.authuser, ' ') AND (
        field.ident <> '-'
        OR regexp_matches(field.authuser, '(^| )-?( |$)')     -- a word `-`, or none between two spaces
        OR regexp_matches(field.authuser, '\[([0-9]|$)')      -- the beginning of a stamp
        OR regexp_matches(field.authuser, '(:|\.[^ ])[^ ]*( [^ ]+){2,}$'));  -- an address or a domain, and two words more
CREATE OR REPLACE TEMP MACRO well_formed(field) AS field.host <> '' AND NOT torn(field);

-- A line counts if it is well-formed and its day exists and its bytes fit 64 bits; every other line is in `malformed`.
-- Second 60 is the first of the next minute, as POSIX time has it.
CREATE OR REPLACE TEMP TABLE parsed AS
SELECT line, field.host AS host,
       try_strptime(field.minute, '%d/%b/%Y:%H:%M') + to_seconds(try_cast(field.second AS INTEGER))
       - to_minutes((field.sign || '1')::INTEGER * (try_cast(field.zone_hours AS INTEGER) * 60 + try_cast(field.zone_minutes AS INTEGER)))
           AS event_time,
       try_cast(nullif(field.response, '-') AS USMALLINT) AS response,
       CASE field.bytes WHEN '-' THEN 0 ELSE try_cast(field.bytes AS UBIGINT) END AS bytes
FROM (SELECT * FROM matches WHERE well_formed(field));

CREATE OR REPLACE TEMP TABLE requests AS
SELECT host, event_time, time_bucket(INTERVAL 5 MINUTES, event_time) AS window_start, response, bytes
FROM parsed WHERE event_time IS NOT NULL AND bytes IS NOT NULL;

CREATE OR REPLACE TEMP VIEW malformed AS
SELECT line FROM matches WHERE NOT well_formed(field)
UNION ALL SELECT line FROM parsed WHERE event_time IS NULL OR bytes IS NULL;

-- Addresses as 128-bit numbers, IPv4 as ::ffff:a.b.c.d, so that every spelling of an address is one number.
CREATE OR REPLACE TEMP MACRO ipv4(host) AS CASE
    WHEN regexp_full_match(host, '(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.|$)){4}') AND host NOT LIKE '%.'
    THEN list_reduce([octet::UHUGEINT FOR octet IN string_split(host, '.')], lambda number, octet: number * 256 + octet)
END;
CREATE OR REPLACE TEMP MACRO ipv6_groups(host) AS  -- `::` spelled out
    CASE WHEN contains(host, '::') THEN replace(host, '::',
        ':' || repeat('0:', 8 - (length(host) - length(replace(host, ':', ''))))) ELSE host END;
CREATE OR REPLACE TEMP MACRO ipv6(host) AS CASE
    WHEN regexp_full_match(host, '[0-9A-Fa-f:]*:[0-9A-Fa-f:]*')
     AND regexp_full_match(ipv6_groups(host), '(?:[0-9A-Fa-f]{0,4}:){7}[0-9A-Fa-f]{0,4}')
    THEN list_reduce([('0x0' || piece)::UHUGEINT FOR piece IN string_split(ipv6_groups(host), ':')],
                     lambda number, piece: number * 65536 + piece)
END;
CREATE OR REPLACE TEMP MACRO address(host) AS
    coalesce(ipv4(regexp_replace(lower(host), '^::ffff:(\d+\.)', '\1')) + 281470681743360::UHUGEINT, ipv6(host));
CREATE OR REPLACE TEMP MACRO name(host) AS rtrim(lower(host), '.');

-- The reference data: a name, or a block of addresses (one address is a block of its own).
CREATE OR REPLACE TEMP TABLE reference AS
SELECT row_number() OVER () AS row, ApplicationName AS application, coalesce(Contact, '') AS contact,
       name(Host) AS name, address(network) AS network,
       CASE WHEN prefix IS NULL THEN 128 WHEN contains(network, ':') THEN prefix ELSE prefix + 96 END AS prefix
FROM (SELECT *, string_split(Host, '/')[1] AS network, try_cast(string_split(Host, '/')[2] AS INTEGER) AS prefix
      FROM read_csv(getvariable('reference'), header = true, all_varchar = true, delim = ',', quote = '"', escape = '"'));

-- Each host's owner: by name, else by the longest prefix; of equals, the last row.
CREATE OR REPLACE TEMP TABLE owners AS
SELECT host, arg_max(application, (prefix, row)) AS application, arg_max(contact, (prefix, row)) AS contact
FROM (SELECT DISTINCT host FROM requests) AS hosts
JOIN reference ON CASE
    WHEN reference.network IS NULL THEN reference.name = name(host)
    ELSE (address(host) >> (128 - prefix)::UHUGEINT) = (network >> (128 - prefix)::UHUGEINT) END
GROUP BY host;
