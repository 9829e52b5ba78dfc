-- meaning: What the gates told, one row a change: the lot it belongs to, the spaces it takes or frees, and what is counted apart.
WITH told AS (
    SELECT c.*, d.lot, coalesce(w.spaces, 1.0) AS spaces, c.class_total IS NULL AND c.line_total IS NULL AS is_single
    FROM parking_crossings c
    JOIN parking_devices d ON d.device_id = c.device_id AND d.role = 'gate'
    -- A class without a weight takes a space: what nobody thought of is rather a car than nothing.
    LEFT JOIN parking_class_weights w ON w.lot = d.lot AND w.vehicle_class = c.vehicle_class
),
with_total AS (
    -- Counters with a total for each class tell it with each crossing; those with one for all tell it by the clock.
    SELECT lot, received_at, seq, line, observed_at, device_id, direction,
           concat(device_id, '/', line, '/', vehicle_class) AS counter, epoch,
           CASE WHEN direction = 'none' THEN 0.0 ELSE spaces END AS vehicles,
           coalesce(class_total, line_total) AS total, class_total IS NULL AS by_clock
    FROM told
    WHERE NOT is_single
),
passed AS (
    -- Reports of one crossing: it counts when it first is in or out. All have the same observed_at, so the reach that holds the
    -- newest holds them all. A report that says 'none' after one that says in or out is an old one that came again.
    SELECT *, lag(direction) OVER reports AS direction_before, lag(spaces) OVER reports AS spaces_before
    FROM told
    WHERE is_single AND direction <> 'none'
    WINDOW reports AS (PARTITION BY device_id, line, event_id, observed_at ORDER BY revision, seq)
),
single AS (
    SELECT lot, received_at, seq, line, observed_at, device_id, direction,
           CASE WHEN direction = direction_before AND spaces = spaces_before THEN 0.0 ELSE spaces END AS vehicles
    FROM passed
    UNION ALL
    -- Who is still on the way, or turned round, proves that the gate lives.
    SELECT lot, received_at, seq, line, observed_at, device_id, direction, 0.0 FROM told WHERE is_single AND direction = 'none'
),
taken_back AS (
    -- A report that turns out otherwise takes back what the one before counted.
    SELECT lot, received_at, seq, line, observed_at, device_id, direction_before AS direction, -spaces_before AS vehicles
    FROM passed
    WHERE direction <> direction_before OR spaces <> spaces_before
)
SELECT lot, received_at, seq, line, observed_at, device_id, direction, counter, epoch, vehicles, total, by_clock FROM with_total
UNION ALL
SELECT lot, received_at, seq, line, observed_at, device_id, direction, '', NULL, vehicles, NULL, false FROM single
UNION ALL
SELECT lot, received_at, seq, line, observed_at, device_id, direction, '', NULL, vehicles, NULL, false FROM taken_back
