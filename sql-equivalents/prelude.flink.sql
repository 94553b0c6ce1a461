-- What both queries stand on: the log as `requests`, and its hosts with their owners as `owners`. Flink SQL 2.
-- As it stands it runs in batch mode over files; README.md says what changes on a stream. prelude.duckdb.sql says why the
-- pattern is as it is; here its loops are possessive, for in Java's regular expressions any other recurses at each turn.

-- A line without a stamp gets 1970: a NULL would stop the job. Any stamp moves the watermark, also that of a
-- malformed line or of a server whose clock is wrong.
CREATE TABLE log (
    line STRING,
    event_time AS COALESCE(TIMESTAMPADD(SECOND,
        CAST(REGEXP_EXTRACT(line, '\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d):(\d\d) ([+-]\d{4})\] "', 2) AS INT)
        - 60 * (CAST(REGEXP_EXTRACT(line, '\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d):(\d\d) ([+-]\d{4})\] "', 3) AS INT) / 100 * 60
                + MOD(CAST(REGEXP_EXTRACT(line, '\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d):(\d\d) ([+-]\d{4})\] "', 3) AS INT), 100)),
        TO_TIMESTAMP(REGEXP_EXTRACT(line, '\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d):(\d\d) ([+-]\d{4})\] "', 1),
                     'dd/MMM/yyyy:HH:mm')), TIMESTAMP '1970-01-01 00:00:00.000'),
    combined AS '^([0-9A-Za-z_.:-]+(?:%[0-9A-Za-z_.-]+)?) ([^ "\p{Cntrl}]+) '
        || '(""|(?:[^"\\\p{Cntrl}]|\\[^\p{Cntrl}])[^"\\\p{Cntrl}]*(?:\\[^\p{Cntrl}][^"\\\p{Cntrl}]*){0,255})'
        || ' \[(\d\d/(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/\d{4}:(?:[01]\d|2[0-3]):[0-5]\d):([0-5]\d|60)'
        || ' ([+-])([01]\d|2[0-3])([0-5]\d)\] '
        || '"[^"\\\p{Cntrl}]*+(?:\\[^\p{Cntrl}][^"\\\p{Cntrl}]*+)*+'
        || '" (-|\d{3}) (-|\d{1,18})'
        || '(?: "[^"\\\p{Cntrl}]*+(?:\\[^\p{Cntrl}][^"\\\p{Cntrl}]*+)*+"){2}'
        || '(?: (?:"[^"\\\p{Cntrl}]*+(?:\\[^\p{Cntrl}][^"\\\p{Cntrl}]*+)*+"|[^ "\[\]\p{Cntrl}]+))*\r?$',
    WATERMARK FOR event_time AS event_time - INTERVAL '1' HOUR
) WITH ('connector' = 'filesystem', 'path' = '${log}', 'format' = 'raw', 'raw.charset' = 'ISO-8859-1');

CREATE TABLE reference (`Host` STRING, `ApplicationName` STRING, `Contact` STRING)
WITH ('connector' = 'filesystem', 'path' = '${reference}', 'format' = 'csv');

-- The last condition is `torn` of prelude.duckdb.sql. TO_TIMESTAMP takes the 30th of February
-- for the 28th and gives NULL for the 0th of October: a day that does not come back as it went in is refused.
CREATE VIEW requests AS
SELECT event_time, host, TRY_CAST(response AS INT) AS response, COALESCE(TRY_CAST(size AS BIGINT), 0) AS `bytes`
FROM (SELECT event_time, REGEXP_EXTRACT(line, combined, 1) AS host,
             REGEXP_EXTRACT(line, combined, 2) AS ident, REGEXP_EXTRACT(line, combined, 3) AS authuser,
             REGEXP_EXTRACT(line, combined, 4) AS stamp, REGEXP_EXTRACT(line, combined, 9) AS response,
             REGEXP_EXTRACT(line, combined, 10) AS size FROM log) AS fields
WHERE host IS NOT NULL
  AND DATE_FORMAT(TO_TIMESTAMP(stamp, 'dd/MMM/yyyy:HH:mm'), 'dd') = SUBSTRING(stamp FROM 1 FOR 2)
  AND NOT (authuser LIKE '% %' AND (ident <> '-' OR REGEXP(authuser, '(^| )-?( |$)') OR REGEXP(authuser, '\[([0-9]|$)')
      OR REGEXP(authuser, '(:|\.[^ ])[^ ]*+( [^ ]++){2,}$')));

CREATE VIEW blocks AS
SELECT `ApplicationName` AS application, COALESCE(`Contact`, '') AS contact,
       TRIM(TRAILING '.' FROM LOWER(`Host`)) AS name,
       SPLIT_INDEX(`Host`, '/', 0) AS network,
       CASE WHEN `Host` NOT LIKE '%/%' THEN 128
            WHEN `Host` LIKE '%:%' THEN CAST(SPLIT_INDEX(`Host`, '/', 1) AS INT)
            ELSE CAST(SPLIT_INDEX(`Host`, '/', 1) AS INT) + 96 END AS prefix
FROM reference WHERE `Host` <> 'Host'; -- Flink's CSV has no header

-- Addresses as 32 hexadecimal digits, IPv4 as ::ffff:a.b.c.d, so that every spelling of an address is one text.
CREATE VIEW spelled AS
SELECT text, short, CASE WHEN short LIKE '%::%'
    THEN REPLACE(short, '::', ':' || REPEAT('0:', 8 - CHAR_LENGTH(short) + CHAR_LENGTH(REPLACE(short, ':', ''))))
    ELSE short END AS unabridged
FROM (SELECT text, REGEXP_REPLACE(LOWER(text), '^::ffff:(?=\d+\.)', '') AS short
      FROM (SELECT host AS text FROM requests UNION SELECT network AS text FROM blocks) AS texts) AS shorts;
CREATE VIEW addresses AS
SELECT text, CASE
    WHEN REGEXP(short, '^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$')
    THEN '00000000000000000000ffff'
      || LPAD(LOWER(HEX(TRY_CAST(SPLIT_INDEX(short, '.', 0) AS INT))), 2, '0')
      || LPAD(LOWER(HEX(TRY_CAST(SPLIT_INDEX(short, '.', 1) AS INT))), 2, '0')
      || LPAD(LOWER(HEX(TRY_CAST(SPLIT_INDEX(short, '.', 2) AS INT))), 2, '0')
      || LPAD(LOWER(HEX(TRY_CAST(SPLIT_INDEX(short, '.', 3) AS INT))), 2, '0')
    WHEN REGEXP(unabridged, '^(?:[0-9a-f]{0,4}:){7}[0-9a-f]{0,4}$')
    THEN LPAD(SPLIT_INDEX(unabridged, ':', 0), 4, '0') || LPAD(SPLIT_INDEX(unabridged, ':', 1), 4, '0')
      || LPAD(SPLIT_INDEX(unabridged, ':', 2), 4, '0') || LPAD(SPLIT_INDEX(unabridged, ':', 3), 4, '0')
      || LPAD(SPLIT_INDEX(unabridged, ':', 4), 4, '0') || LPAD(SPLIT_INDEX(unabridged, ':', 5), 4, '0')
      || LPAD(SPLIT_INDEX(unabridged, ':', 6), 4, '0') || LPAD(SPLIT_INDEX(unabridged, ':', 7), 4, '0')
    END AS address
FROM spelled;

-- Each host's owner: by name, else by the longest prefix. Whole digits of the prefix as text, the rest as a number.
CREATE VIEW owners AS
SELECT host, application, contact FROM (
    SELECT callers.text AS host, application, contact,
           ROW_NUMBER() OVER (PARTITION BY callers.text ORDER BY prefix DESC) AS place
    FROM (SELECT * FROM addresses WHERE text IN (SELECT host FROM requests)) AS callers
    JOIN (SELECT blocks.*, addresses.address FROM blocks JOIN addresses ON blocks.network = addresses.text) AS owned
    ON CASE WHEN owned.address IS NULL THEN name = TRIM(TRAILING '.' FROM LOWER(callers.text))
            ELSE LEFT(callers.address, prefix / 4) = LEFT(owned.address, prefix / 4)
             AND (MOD(prefix, 4) = 0 OR
                  (POSITION(SUBSTRING(callers.address FROM prefix / 4 + 1 FOR 1) IN '0123456789abcdef') - 1)
                      / CAST(POWER(2, 4 - MOD(prefix, 4)) AS INT)
                  = (POSITION(SUBSTRING(owned.address FROM prefix / 4 + 1 FOR 1) IN '0123456789abcdef') - 1)
                      / CAST(POWER(2, 4 - MOD(prefix, 4)) AS INT))
       END) AS ranked
WHERE place = 1;
