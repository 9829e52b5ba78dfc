-- product: parking_corrections
-- meaning: The past days judged again, hour by hour: what the sign said, and what it was by the persons' counts that came later.
-- kind: table
-- every: 1 day at 10:00 Europe/Oslo
-- reach: 4 days
-- keys: lot, hour_at
-- access: internal
-- owner: parking
--
-- Between two counts the error is taken to have grown evenly from nothing (the estimate was put right by the first) to what the
-- second found. Hours after the last count are not told yet; the next day's run tells them.
WITH spans AS (
    SELECT lot, counted_at AS until, received_at, missing, lag(received_at) OVER (PARTITION BY lot ORDER BY counted_at) AS since
    FROM counts
),
hours AS (
    SELECT lot, as_of AS hour_at, occupied_estimate, free, state
    FROM parking_free
    WHERE date_bin(INTERVAL '1 hour', as_of) = as_of AND occupied_estimate IS NOT NULL
)
SELECT t.as_of, h.lot, h.hour_at, h.state AS state_then, h.occupied_estimate AS occupied_then,
       greatest(h.occupied_estimate + s.missing * (date_part('epoch', h.hour_at) - date_part('epoch', s.since))
           / (date_part('epoch', s.until) - date_part('epoch', s.since)), 0.0) AS occupied_now,
       s.until AS counted_at
FROM ticks t
JOIN spans s ON s.received_at <= t.as_of AND s.received_at > t.as_of - INTERVAL '1 day'
    AND s.since > t.as_of - INTERVAL '3 days'
JOIN hours h ON h.lot = s.lot AND h.hour_at >= s.since AND h.hour_at < s.until
