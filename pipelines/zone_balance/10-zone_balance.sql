-- product: zone_balance
-- meaning: what went into a zone with building meters in a day, what its buildings took and what is left for the pipes
-- kind: table
-- every: 1 day at 07:30 Europe/Oslo
-- reach: 10 days
-- keys: zone_id, local_day
-- access: restricted
-- owner: water
--
-- A row stands for a day whose balance was judged at the tick; hours count only where every meter was there.
WITH days AS (
    SELECT zone_id, local_day, part, as_of, mean_lps, hours_known FROM leak_days
)
SELECT
    p.as_of, p.zone_id, p.local_day,
    p.hours_known,
    86.4 * z.mean_lps AS inflow_m3,
    86.4 * (z.mean_lps - p.mean_lps) AS buildings_m3,
    86.4 * p.mean_lps AS unaccounted_m3,
    p.mean_lps / nullif(z.mean_lps, 0.0) AS unaccounted_share
FROM days p
JOIN days z ON z.zone_id = p.zone_id AND z.local_day = p.local_day AND z.part = 'zone' AND z.as_of <= p.as_of
WHERE p.part = 'pipes' AND p.as_of IN (SELECT as_of FROM ticks)
