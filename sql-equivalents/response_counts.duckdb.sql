-- Requests per five minutes of event time, application, contact and response status. After prelude.duckdb.sql.
SELECT strftime(window_start, '%Y-%m-%dT%H:%M:%SZ') AS windowStart,
       strftime(window_start + INTERVAL 5 MINUTES, '%Y-%m-%dT%H:%M:%SZ') AS windowEnd,
       coalesce(owners.application, 'Unknown') AS applicationName,
       coalesce(owners.contact, '') AS contact,
       response,
       count(*) AS responseCount,
       sum(bytes) AS bytes
FROM requests LEFT JOIN owners USING (host)
GROUP BY ALL
ORDER BY windowStart, applicationName, contact, response NULLS FIRST;
