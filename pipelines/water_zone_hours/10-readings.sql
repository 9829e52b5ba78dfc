-- meaning: each reading in its nominal slot, with the time at which a later delivery replaced it
--
-- Clocks wander by a minute or two: the moment of reading is rounded to the meter's own interval. Of several deliveries for one
-- slot the one received last counts, from its arrival on.
WITH slotted AS (
    SELECT
        m.meter_id, m.zone_id, m.role, m.quantity, m.interval_s, m.register_max_m3, m.area_m2,
        CAST(floor((date_part('epoch', w.observed_at) + m.interval_s / 2.0) / m.interval_s) AS BIGINT) * m.interval_s AS slot_s,
        CASE m.quantity
            WHEN 'register' THEN w.register_m3
            WHEN 'level' THEN w.level_m
            ELSE w.flow_l_per_s
        END AS value,
        w.received_at, w.seq
    FROM water_meters w
    JOIN meters m ON m.meter_id = w.meter_id
    WHERE m.role IN ('inlet', 'outlet', 'submeter', 'level')
)
SELECT
    *,
    lead(received_at) OVER (PARTITION BY meter_id, slot_s ORDER BY received_at, seq) AS replaced_at
FROM slotted
WHERE value IS NOT NULL
