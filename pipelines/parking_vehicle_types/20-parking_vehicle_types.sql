-- product: parking_vehicle_types
-- meaning: What kinds of vehicles came and went in a day, by lot and hour; a class that a gate does not tell apart is 'vehicle'.
-- kind: table
-- every: 1 day at 04:15 Europe/Oslo
-- reach: 4 days
-- keys: lot, hour_at, vehicle_class
-- access: internal
-- owner: parking
WITH hours AS (
    SELECT t.as_of, c.lot, c.hour_at, c.vehicle_class,
           sum(CASE WHEN c.direction = 'in' THEN c.vehicles ELSE 0 END) AS entries,
           sum(CASE WHEN c.direction = 'out' THEN c.vehicles ELSE 0 END) AS exits
    FROM ticks t
    -- Twenty-four whole hours, the last of them four hours old, so that what comes late is in it.
    JOIN counted c ON c.received_at <= t.as_of
        AND c.hour_at >= date_bin(INTERVAL '1 hour', t.as_of) - INTERVAL '28 hours'
        AND c.hour_at < date_bin(INTERVAL '1 hour', t.as_of) - INTERVAL '4 hours'
    GROUP BY t.as_of, c.lot, c.hour_at, c.vehicle_class
)
SELECT as_of, lot, hour_at, vehicle_class, entries, exits,
       entries / nullif(CAST(sum(entries) OVER (PARTITION BY as_of, lot, hour_at) AS DOUBLE), 0.0) AS share_of_entries
FROM hours
