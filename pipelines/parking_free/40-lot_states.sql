-- meaning: FULL or FREE for each lot and tick, held so that a sign does not flicker; no number while the lot is blind.
WITH free AS (
    SELECT e.*, l.capacity, l.free_again_at, e.seen_until < e.as_of AS blind,
           greatest(l.capacity - e.occupied, 0.0) AS free_spaces,
           -- Midway between the two limits neither FULL nor a number is wrong, so there the sign turns to FULL.
           (l.full_at + l.free_again_at) / 2.0 AS full_below
    FROM lot_estimates e JOIN parking_lots l ON l.lot = e.lot
)
SELECT f.*,
       hold_state(
           CASE WHEN NOT f.blind THEN f.free_spaces END, f.full_below, CAST(f.free_again_at AS DOUBLE), f.as_of, 120.0,
           p.held_state, p.held_since
       ) OVER (PARTITION BY f.lot ORDER BY f.as_of) AS held
FROM free f LEFT JOIN previous p ON p.lot = f.lot
