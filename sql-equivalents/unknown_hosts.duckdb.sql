-- The hosts that nobody owns, per five minutes of event time, the busiest first. After prelude.duckdb.sql.
SELECT strftime(window_start, '%Y-%m-%dT%H:%M:%SZ') AS windowStart,
       name(requests.host) AS host,
       count(*) AS requests
FROM requests ANTI JOIN owners USING (host)
GROUP BY ALL
ORDER BY windowStart, requests DESC, host;
