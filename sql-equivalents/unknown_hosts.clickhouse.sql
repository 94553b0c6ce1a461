-- The hosts that nobody owns, per five minutes of event time, the busiest first. After prelude.clickhouse.sql.
SELECT formatDateTime(window_start, '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS windowStart,
       trimRight(lower(requests.host), '.') AS host,
       count() AS requests
FROM requests LEFT ANTI JOIN owners ON requests.host = owners.host
GROUP BY window_start, host
ORDER BY window_start, requests DESC, host
