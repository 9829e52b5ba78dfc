-- meaning: All that a lot's memory takes in since it was last kept: gates, signs of life, counts, and the ticks.
WITH last AS (
    -- Where the memory ends. A lot that has none starts at $since with the number of vehicles in its reference row.
    SELECT l.lot, coalesce(p.as_of, $since) AS kept_at
    FROM parking_lots l LEFT JOIN previous p ON p.lot = l.lot
),
heard AS (
    -- What the broker had kept proves no life, and 'offline' is said by the broker. A link that came has no clock of its own.
    SELECT d.lot, s.received_at, s.seq, s.device_id, CASE WHEN s.signal = 'heartbeat' THEN s.observed_at END AS observed_at
    FROM device_status s
    JOIN parking_devices d ON d.device_id = s.device_id AND d.role = 'gate'
    WHERE NOT s.retained AND s.state NOT IN ('offline', 'disabled', 'stopped')
),
counts AS (
    -- One message may have a row for each class: together they are one count.
    SELECT d.lot, d.role AS kind, o.received_at, o.seq, o.device_id, o.observed_at,
           sum(coalesce(o.occupied, o.capacity - o.free) * coalesce(w.spaces, 1.0)) AS vehicles
    FROM parking_occupancy o
    JOIN parking_devices d ON d.device_id = o.device_id AND d.area = o.area AND d.role IN ('view', 'manual')
    LEFT JOIN parking_class_weights w ON w.lot = d.lot AND w.vehicle_class = o.vehicle_class
    GROUP BY d.lot, d.role, o.received_at, o.seq, o.device_id, o.observed_at
),
rows AS (
    SELECT lot, 'crossing' AS kind, received_at, seq, line, observed_at, device_id, direction, counter, epoch, vehicles, total,
           by_clock
    FROM gate_rows
    UNION ALL
    SELECT lot, 'heard', received_at, seq, '', observed_at, device_id, 'none', '', NULL, 0.0, NULL, false FROM heard
    UNION ALL
    SELECT lot, kind, received_at, seq, '', observed_at, device_id, 'none', '', NULL, vehicles, NULL, false
    FROM counts WHERE vehicles IS NOT NULL
)
SELECT r.lot, r.kind, r.received_at, 0 AS turn, r.seq, r.line, r.observed_at, r.device_id, r.direction, r.counter, r.epoch,
       r.vehicles, r.total, r.by_clock
FROM rows r JOIN last ON last.lot = r.lot
WHERE r.received_at > last.kept_at
UNION ALL
-- A tick asks; it comes after all that has arrived by then, and changes nothing.
SELECT l.lot, 'tick', t.as_of, 1, 0, '', NULL, '', 'none', '', NULL, 0.0, NULL, false
FROM parking_lots l CROSS JOIN ticks t
