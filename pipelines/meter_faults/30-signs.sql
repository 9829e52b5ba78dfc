-- meaning: for each tick and meter what speaks of a fault: newest reading, since when the value stands, falls of a register
WITH changes AS (
    SELECT
        as_of, meter_id,
        max(observed_at) AS newest_at,
        min(observed_at) AS oldest_at,
        max(CASE WHEN growth <> 0 THEN observed_at END) AS changed_at,
        max(CASE WHEN observed_at > as_of + INTERVAL '15 minutes' THEN 1 ELSE 0 END) = 1 AS in_future,
        -- A fall that is no roll-over (from the last tenth of the range to its first half) is an exchanged or broken register.
        max(CASE WHEN quantity = 'register' AND growth < 0
            AND NOT (value_before >= 0.9 * coalesce(register_max_m3, 1e12) AND value <= 0.5 * register_max_m3)
            THEN observed_at END) AS fell_at
    FROM stands
    GROUP BY as_of, meter_id
)
SELECT
    t.as_of, m.meter_id, m.zone_id, m.role, m.quantity,
    c.newest_at, c.oldest_at, coalesce(c.changed_at, c.oldest_at) AS changed_at, c.fell_at,
    coalesce(c.in_future, false) AS in_future
FROM ticks t
CROSS JOIN meters m
LEFT JOIN changes c ON c.as_of = t.as_of AND c.meter_id = m.meter_id
