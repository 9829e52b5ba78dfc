-- meaning: Vehicles counted at the gates, a row a crossing or a growth of a total, with the hour in which it happened.
WITH told AS (
    SELECT c.*, d.lot, coalesce(c.class_total, c.line_total) AS total, c.class_total IS NULL AS by_clock,
           row_number() OVER (PARTITION BY c.device_id, c.line, c.event_id, c.observed_at ORDER BY c.revision, c.seq) AS report
    FROM parking_crossings c
    JOIN parking_devices d ON d.device_id = c.device_id AND d.role = 'gate'
    -- Of the reports of one crossing the first that is in or out counts, as on the sign.
    WHERE c.direction <> 'none'
),
before AS (
    SELECT *, max(total) OVER earlier AS total_before, max(received_at) OVER earlier AS told_before
    FROM told
    WHERE report = 1
    WINDOW earlier AS (
        PARTITION BY device_id, line, vehicle_class, epoch ORDER BY received_at, seq
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
SELECT lot, vehicle_class, direction, received_at,
       -- A device's clock may be ahead; nothing happens after we heard of it.
       date_bin(INTERVAL '1 hour', least(observed_at, received_at)) AS hour_at,
       CASE WHEN total IS NULL THEN 1
            -- After two days of silence, and at the very first, a total tells only of its own crossing.
            WHEN total_before IS NULL OR told_before < received_at - INTERVAL '2 days' THEN CASE WHEN by_clock THEN 0 ELSE 1 END
            ELSE greatest(total - total_before, 0) END AS vehicles
FROM before
