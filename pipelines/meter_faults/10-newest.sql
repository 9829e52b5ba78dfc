-- meaning: for each tick and meter the readings of the last two days, as known then
--
-- Of several deliveries for one moment the one received last counts.
WITH readings AS (
    SELECT
        m.meter_id, m.zone_id, m.role, m.quantity, m.register_max_m3, w.observed_at, w.received_at,
        CASE m.quantity
            WHEN 'register' THEN w.register_m3
            WHEN 'level' THEN w.level_m
            WHEN 'pressure' THEN w.pressure_m
            ELSE w.flow_l_per_s
        END AS value,
        lead(w.received_at) OVER (PARTITION BY w.meter_id, w.observed_at ORDER BY w.received_at, w.seq) AS replaced_at
    FROM water_meters w
    JOIN meters m ON m.meter_id = w.meter_id
)
SELECT t.as_of, r.*
FROM ticks t
JOIN readings r
    ON r.observed_at > t.as_of - INTERVAL '2 days'
    AND r.observed_at <= t.as_of + INTERVAL '1 day'
    AND r.received_at <= t.as_of
    AND (r.replaced_at IS NULL OR r.replaced_at > t.as_of)
WHERE r.value IS NOT NULL
