-- Requests per five minutes of arrival time, application, contact and response status, as Kinesis Data Analytics for SQL
-- ran it until 2026-01-27. It is kept to be read: nothing runs this dialect any more.
--
-- The application's configuration declared the input "SOURCE_SQL_STREAM_001" from the Kinesis Agent's LOGTOJSON records,
--     "host" VARCHAR(64), "ident" VARCHAR(64), "authuser" VARCHAR(64), "datetime" VARCHAR(32), "request" VARCHAR(4096),
--     "response" SMALLINT, "bytes" INTEGER, "referer" VARCHAR(4096), "agent" VARCHAR(4096),
-- and the reference table "HOSTS" from the CSV object in S3: "Host", "ApplicationName", "Contact", all VARCHAR.
CREATE OR REPLACE STREAM "RESPONSE_COUNTS" (
    "windowStart" TIMESTAMP,
    "applicationName" VARCHAR(64),
    "contact" VARCHAR(128),
    "response" SMALLINT,
    "responseCount" BIGINT, -- many wrote SMALLINT here, which fails past 32,767 requests in a window
    "bytes" BIGINT
);

CREATE OR REPLACE PUMP "RESPONSE_COUNTS_PUMP" AS
INSERT INTO "RESPONSE_COUNTS"
SELECT STREAM
    STEP("log".ROWTIME BY INTERVAL '5' MINUTE),
    COALESCE("hosts"."ApplicationName", 'Unknown'),
    COALESCE("hosts"."Contact", ''),
    "log"."response",
    COUNT(*),
    SUM(CAST("log"."bytes" AS BIGINT))
FROM "SOURCE_SQL_STREAM_001" AS "log"
LEFT JOIN "HOSTS" AS "hosts" ON LOWER("log"."host") = LOWER("hosts"."Host") -- no CIDR blocks
GROUP BY
    STEP("log".ROWTIME BY INTERVAL '5' MINUTE),
    COALESCE("hosts"."ApplicationName", 'Unknown'),
    COALESCE("hosts"."Contact", ''),
    "log"."response";
