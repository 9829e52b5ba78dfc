-- meaning: How the vehicles in a lot usually change over the next hour, by kind of day and local quarter of an hour.
WITH quarters AS (
    SELECT lot, as_of, occupied_estimate, as_of AT TIME ZONE 'Europe/Oslo' AS local
    FROM parking_free
    WHERE date_bin(INTERVAL '15 minutes', as_of) = as_of AND state <> 'UNKNOWN'
),
hourly AS (
    SELECT a.lot, b.as_of AS known_at, a.as_of AS from_at, b.occupied_estimate - a.occupied_estimate AS change,
           date_part('hour', a.local) * 4 + floor(date_part('minute', a.local) / 15) AS quarter,
           date_part('dow', a.local) IN (0, 6) AS weekend
    FROM quarters a
    JOIN quarters b ON b.lot = a.lot AND b.as_of = a.as_of + INTERVAL '1 hour'
    -- A day with a planned event is not a usual one.
    WHERE NOT EXISTS (
        SELECT 1 FROM parking_events e
        WHERE e.lot = a.lot AND a.as_of >= e.starts_at - INTERVAL '4 hours' AND a.as_of <= e.ends_at + INTERVAL '3 hours'
    )
)
SELECT t.as_of, h.lot, count(*) AS days, median(h.change) AS change,
       percentile_cont(0.05) WITHIN GROUP (ORDER BY h.change) AS change_low,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY h.change) AS change_high
FROM ticks t
JOIN hourly h ON h.known_at <= t.as_of AND h.known_at > t.as_of - INTERVAL '29 days'
    AND h.quarter = date_part('hour', t.as_of AT TIME ZONE 'Europe/Oslo') * 4
                    + floor(date_part('minute', t.as_of AT TIME ZONE 'Europe/Oslo') / 15)
    AND h.weekend = (date_part('dow', t.as_of AT TIME ZONE 'Europe/Oslo') IN (0, 6))
GROUP BY t.as_of, h.lot
