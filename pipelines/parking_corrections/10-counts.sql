-- meaning: For each count by a person how far the sign's estimate of that minute was off.
WITH manual AS (
    SELECT d.lot, o.observed_at, max(o.received_at) AS received_at,
           avg(CAST(coalesce(o.occupied, o.capacity - o.free) AS DOUBLE)) AS counted
    FROM parking_occupancy o
    JOIN parking_devices d ON d.device_id = o.device_id AND d.area = o.area AND d.role = 'manual'
    -- The first word on a count: a later one would change what was told before.
    WHERE o.revision = 0
    GROUP BY d.lot, o.observed_at
)
SELECT m.lot, m.observed_at AS counted_at, m.received_at, m.counted, m.counted - f.occupied_estimate AS missing
FROM manual m
-- The estimate before the count was known: the rows of a tick hold only what had arrived by then.
JOIN parking_free f ON f.lot = m.lot AND f.as_of = date_bin(INTERVAL '1 minute', m.observed_at)
WHERE f.occupied_estimate IS NOT NULL AND m.received_at > f.as_of
