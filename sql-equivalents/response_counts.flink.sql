-- Requests per five minutes of event time, application, contact and response status. After prelude.flink.sql.
SELECT DATE_FORMAT(window_start, 'yyyy-MM-dd''T''HH:mm:ss''Z''') AS windowStart,
       DATE_FORMAT(window_end, 'yyyy-MM-dd''T''HH:mm:ss''Z''') AS windowEnd,
       COALESCE(application, 'Unknown') AS applicationName,
       COALESCE(contact, '') AS contact,
       response,
       COUNT(*) AS responseCount,
       SUM(`bytes`) AS `bytes`
FROM TABLE(TUMBLE(TABLE requests, DESCRIPTOR(event_time), INTERVAL '5' MINUTES)) AS windowed
LEFT JOIN owners ON windowed.host = owners.host
GROUP BY window_start, window_end, COALESCE(application, 'Unknown'), COALESCE(contact, ''), response
ORDER BY windowStart, applicationName, contact, response NULLS FIRST
