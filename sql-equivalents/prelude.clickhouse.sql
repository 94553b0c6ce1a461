-- What both queries stand on: the log as `requests`, and its hosts with their owners as `owners`.
-- Expects the query parameters `log` and `reference`. prelude.duckdb.sql says why the pattern is as it is,
-- and what is `torn`.

CREATE TEMPORARY TABLE matches AS
SELECT line, extractGroups(convertCharset(line, 'ISO-8859-1', 'UTF-8'), concat(
    '^([0-9A-Za-z_.:-]+(?:%[0-9A-Za-z_.-]+)?) ([^ "\\x00-\\x1f\\x7f]+) (""|(?:[^"\\\\\\x00-\\x1f\\x7f]|\\\\[^\\x00-\\x1f\\x7f])+)',
    ' \\[(\\d\\d)/(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/(\\d{4}):([01]\\d|2[0-3]):([0-5]\\d):([0-5]\\d|60)',
    ' ([+-])([01]\\d|2[0-3])([0-5]\\d)\\]',
    ' "(?:[^"\\\\\\x00-\\x1f\\x7f]|\\\\[^\\x00-\\x1f\\x7f])*" (-|\\d{3}) (-|\\d{1,20})',
    '(?: "(?:[^"\\\\\\x00-\\x1f\\x7f]|\\\\[^\\x00-\\x1f\\x7f])*"){2}',
    '(?: (?:"(?:[^"\\\\\\x00-\\x1f\\x7f]|\\\\[^\\x00-\\x1f\\x7f])*"|[^ "\\[\\]\\x00-\\x1f\\x7f]+))*\\r?$')) AS field,
    position(field[3], ' ') > 0 AND (field[2] != '-' OR match(field[3], '(^| )-?( |$)') OR match(field[3], '\\[([0-9]|$)')
        OR match(field[3], '(:|\\.[^ ])[^ ]*( [^ ]+){2,}$')) AS torn,
    notEmpty(field) AND NOT torn AS well_formed
FROM file({log:String}, 'LineAsString', 'line String');

-- makeDateTime64 would carry the 30th of February into March: a day that does not come back as it went in is refused.
CREATE TEMPORARY TABLE parsed AS
SELECT line, field[1] AS host,
       indexOf(['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'], field[5]) AS month,
       makeDate32(toInt32(field[6]), month, toUInt8(field[4])) AS day,
       toDayOfMonth(day) = toUInt8(field[4]) AND toMonth(day) = month AND toYear(day) = toInt32(field[6]) AS day_exists,
       toInt64(toInt32(day)) * 86400 + toInt32(field[7]) * 3600 + toInt32(field[8]) * 60 + toInt32(field[9])
           - if(field[10] = '-', -1, 1) * (toInt32(field[11]) * 3600 + toInt32(field[12]) * 60) AS event_time,
       toUInt16OrNull(field[13]) AS response,
       if(field[14] = '-', toUInt64(0), if(toUInt128OrZero(field[14]) <= 18446744073709551615, toUInt64OrNull(field[14]), NULL)) AS bytes
FROM matches WHERE well_formed;

-- Without `parsed.` the condition would mean the alias of the same name, which is never NULL.
CREATE TEMPORARY TABLE requests AS
SELECT host, toDateTime64(event_time - positiveModulo(event_time, 300), 0, 'UTC') AS window_start, response, assumeNotNull(bytes) AS bytes
FROM parsed WHERE day_exists AND parsed.bytes IS NOT NULL;

CREATE TEMPORARY TABLE malformed AS
SELECT line FROM matches WHERE NOT well_formed
UNION ALL SELECT line FROM parsed WHERE NOT day_exists OR bytes IS NULL;

-- The reference data: a name, or a block of addresses (one address is a block of its own). toIPv6OrNull maps IPv4 to
-- ::ffff:a.b.c.d, so that every spelling of an address is one value.
CREATE TEMPORARY TABLE reference AS
SELECT rowNumberInAllBlocks() AS row, ApplicationName AS application, ifNull(Contact, '') AS contact,
       trimRight(lower(Host), '.') AS name,
       splitByChar('/', Host) AS parts,
       toIPv6OrNull(parts[1]) AS network,
       if(length(parts) < 2, 128, toUInt8OrZero(parts[2]) + if(position(Host, ':') > 0, 0, 96)) AS prefix
FROM file({reference:String}, 'CSVWithNames', 'Host String, ApplicationName String, Contact String')
SETTINGS max_threads = 1;

-- Each host's owner: by name, else by the longest prefix; of equals, the last row.
CREATE TEMPORARY TABLE owners AS
SELECT host, argMax(application, (prefix, row)) AS application, argMax(contact, (prefix, row)) AS contact
FROM (SELECT DISTINCT host FROM requests) AS hosts CROSS JOIN reference
WHERE if(network IS NULL, name = trimRight(lower(host), '.'),
         ifNull(IPv6CIDRToRange(assumeNotNull(toIPv6OrNull(host)), toUInt8(prefix)).1
              = IPv6CIDRToRange(assumeNotNull(network), toUInt8(prefix)).1 AND toIPv6OrNull(host) IS NOT NULL, false))
GROUP BY host
