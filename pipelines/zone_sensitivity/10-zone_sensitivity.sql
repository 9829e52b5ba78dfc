-- product: zone_sensitivity
-- meaning: what each zone, pipe balance and building can see, given how much it moves without a leak
-- kind: table
-- every: 1 day at 07:30 Europe/Oslo
-- reach: 130 days
-- keys: zone_id, part
-- access: internal
-- owner: water
--
-- A burst is raised within four days if each day adds at least a quarter of the threshold to the sum, and within ten days with a
-- tenth: its rise must be allowance + threshold / days scales high (allowance 0.75, models/cusum). Scales are those of the
-- alerts, taken over the last 30 days; the larger of level and lowest hours decides, both must rise.
WITH newest AS (
    SELECT
        t.as_of, a.zone_id, a.part,
        median(a.scale_lps) AS scale_lps,
        max(a.inflow_lps) AS inflow_lps,
        max(a.threshold) AS threshold,
        count(a.rise_in_scales) AS days_judged
    FROM ticks t
    JOIN leak_alerts a ON a.as_of <= t.as_of AND a.as_of > t.as_of - INTERVAL '30 days'
    GROUP BY t.as_of, a.zone_id, a.part
)
SELECT
    as_of, zone_id, part, days_judged, scale_lps,
    (0.75 + threshold / 4.0) * scale_lps AS seen_in_4_days_lps,
    (0.75 + threshold / 10.0) * scale_lps AS seen_in_10_days_lps,
    (0.75 + threshold / 4.0) * scale_lps / nullif(inflow_lps, 0.0) AS seen_in_4_days_share,
    (0.75 + threshold / 10.0) * scale_lps / nullif(inflow_lps, 0.0) AS seen_in_10_days_share
FROM newest
