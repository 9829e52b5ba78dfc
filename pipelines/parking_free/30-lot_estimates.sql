-- meaning: For each lot and tick the estimate of the vehicles in it, how sure it is, and the memory to go on from.
WITH gates AS (
    SELECT lot, string_agg(device_id, chr(10) ORDER BY device_id) AS gates FROM parking_devices WHERE role = 'gate' GROUP BY lot
),
walked AS (
    SELECT r.lot, r.kind, r.received_at AS as_of,
           lot_occupancy(
               r.kind, r.received_at, r.observed_at, r.device_id, r.counter, r.epoch, r.direction, r.vehicles, r.total,
               r.by_clock,
               CAST(l.capacity AS DOUBLE), CAST(l.initial_occupied AS DOUBLE), CAST(l.stale_after_s AS DOUBLE), g.gates, p.memory
           ) OVER (PARTITION BY r.lot ORDER BY r.received_at, r.turn, r.seq, r.line, r.direction, r.vehicles) AS e
    FROM lot_rows r
    JOIN parking_lots l ON l.lot = r.lot
    LEFT JOIN gates g ON g.lot = r.lot
    LEFT JOIN previous p ON p.lot = r.lot
)
SELECT lot, as_of, e['occupied'] AS occupied, e['low'] AS low, e['high'] AS high, e['put_in'] AS put_in,
       e['heard_until'] AS heard_until, e['view_until'] AS view_until, greatest(e['heard_until'], e['view_until']) AS seen_until,
       e['anchored_at'] AS anchored_at, e['basis_at'] AS basis_at, e['memory'] AS memory
FROM walked
WHERE kind = 'tick'
