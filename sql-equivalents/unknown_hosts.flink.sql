-- The hosts that nobody owns, per five minutes of event time, the busiest first. After prelude.flink.sql.
SELECT DATE_FORMAT(window_start, 'yyyy-MM-dd''T''HH:mm:ss''Z''') AS windowStart,
       TRIM(TRAILING '.' FROM LOWER(windowed.host)) AS host,
       COUNT(*) AS requests
FROM TABLE(TUMBLE(TABLE requests, DESCRIPTOR(event_time), INTERVAL '5' MINUTES)) AS windowed
LEFT JOIN owners ON windowed.host = owners.host
WHERE owners.host IS NULL
GROUP BY window_start, window_end, TRIM(TRAILING '.' FROM LOWER(windowed.host))
ORDER BY windowStart, requests DESC, host
