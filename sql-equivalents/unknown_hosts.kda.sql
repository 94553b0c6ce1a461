-- The hosts that nobody owns, per five minutes of arrival time. As response_counts.kda.sql: kept to be read. The order,
-- the busiest first, was the consumer's affair: a stream has none but time.
CREATE OR REPLACE STREAM "UNKNOWN_HOSTS" (
    "windowStart" TIMESTAMP,
    "host" VARCHAR(64),
    "requests" BIGINT
);

CREATE OR REPLACE PUMP "UNKNOWN_HOSTS_PUMP" AS
INSERT INTO "UNKNOWN_HOSTS"
SELECT STREAM
    STEP("log".ROWTIME BY INTERVAL '5' MINUTE),
    LOWER("log"."host"),
    COUNT(*)
FROM "SOURCE_SQL_STREAM_001" AS "log"
LEFT JOIN "HOSTS" AS "hosts" ON LOWER("log"."host") = LOWER("hosts"."Host")
WHERE "hosts"."Host" IS NULL
GROUP BY
    STEP("log".ROWTIME BY INTERVAL '5' MINUTE),
    LOWER("log"."host");
