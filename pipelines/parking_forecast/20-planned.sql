-- meaning: Vehicles that planned events bring or take away over the next hour, by lot and tick.
--
-- Arrivals are taken to come evenly over the two hours before the start, departures over the hour after the end.
WITH flows AS (
    SELECT lot, starts_at - INTERVAL '2 hours' AS since, starts_at AS until, CAST(vehicles AS DOUBLE) AS vehicles
    FROM parking_events
    UNION ALL
    SELECT lot, ends_at, ends_at + INTERVAL '1 hour', -CAST(vehicles AS DOUBLE) FROM parking_events
)
SELECT t.as_of, f.lot,
       sum(f.vehicles
           * (date_part('epoch', least(f.until, t.as_of + INTERVAL '1 hour')) - date_part('epoch', greatest(f.since, t.as_of)))
           / (date_part('epoch', f.until) - date_part('epoch', f.since))) AS vehicles
FROM ticks t
JOIN flows f ON f.since < t.as_of + INTERVAL '1 hour' AND f.until > t.as_of
GROUP BY t.as_of, f.lot
