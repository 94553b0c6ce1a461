-- Requests per five minutes of event time, application, contact and response status. After prelude.clickhouse.sql.
SELECT formatDateTime(window_start, '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS windowStart,
       formatDateTime(window_start + INTERVAL 5 MINUTE, '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS windowEnd,
       if(owners.host = '', 'Unknown', owners.application) AS applicationName,
       owners.contact AS contact,
       response,
       count() AS responseCount,
       sum(toInt128(bytes)) AS bytes
FROM requests LEFT JOIN owners ON requests.host = owners.host
GROUP BY window_start, applicationName, contact, response
ORDER BY window_start, applicationName, contact, response NULLS FIRST
