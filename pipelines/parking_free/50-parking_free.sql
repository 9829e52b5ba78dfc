-- product: parking_free
-- meaning: Free spaces and FULL for each car park, as its signs show them, with what the number rests on and how sure it is.
-- kind: sign
-- every: 1 minute
-- on: new rows, debounce 2 s
-- reach: 26 hours
-- keys: lot
-- carries: held_state text, held_since time, memory text
-- retention: 60 days
-- access: public
-- owner: parking
WITH now AS (
    SELECT *, held['state'] AS held_state, held['since'] AS held_since FROM lot_states
),
ranked AS (
    -- The nearest other lot that has room at this moment, for "full, go to ...".
    SELECT a.lot, n.as_of, a.alternative, n.free_spaces,
           row_number() OVER (PARTITION BY a.lot, n.as_of ORDER BY a.distance_m, a.alternative) AS place
    FROM parking_alternatives a
    JOIN now n ON n.lot = a.alternative
    WHERE NOT n.blind AND n.held_state = 'FREE' AND n.free_spaces >= n.free_again_at
)
SELECT n.as_of, n.lot,
       CASE WHEN NOT n.blind THEN CAST(round(n.free_spaces) AS BIGINT) END AS free,
       CASE WHEN n.blind THEN 'UNKNOWN' ELSE n.held_state END AS state,
       -- Never an old number: a lot that nobody sees has an empty sign.
       CASE WHEN n.blind THEN '' WHEN n.held_state = 'FULL' THEN 'FULL'
            ELSE CAST(CAST(round(n.free_spaces) AS BIGINT) AS VARCHAR) END AS shown,
       CASE WHEN n.basis_at > TIMESTAMP '1970-01-01T00:00:00Z' THEN n.basis_at END AS basis_at,
       -- A sign goes blank by itself if we are gone, and no later than the lot would be blind.
       least(n.as_of + INTERVAL '3 minutes', greatest(n.seen_until, n.as_of)) AS valid_until,
       CASE WHEN n.blind THEN 'blind'
            WHEN n.heard_until < n.as_of THEN 'seen'
            WHEN abs(n.put_in) >= 1.0 THEN 'estimated'
            WHEN n.anchored_at > n.as_of - INTERVAL '1 hour' THEN 'anchored'
            ELSE 'counted' END AS reason,
       CASE WHEN NOT n.blind THEN CAST(floor(greatest(n.capacity - n.high, 0.0)) AS BIGINT) END AS free_low,
       CASE WHEN NOT n.blind THEN CAST(ceil(greatest(n.capacity - n.low, 0.0)) AS BIGINT) END AS free_high,
       n.occupied AS occupied_estimate, n.put_in, n.heard_until, n.view_until, n.anchored_at,
       r.alternative AS go_to, CAST(round(r.free_spaces) AS BIGINT) AS go_to_free,
       n.held_state, n.held_since, n.memory
FROM now n
LEFT JOIN ranked r ON r.lot = n.lot AND r.as_of = n.as_of AND r.place = 1
