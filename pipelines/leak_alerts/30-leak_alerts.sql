-- product: leak_alerts
-- meaning: leaks in a zone, on the pipes of a balanced zone or behind a building meter: since when, how large, how sure
-- kind: alert
-- every: 1 day at 07:30 Europe/Oslo
-- reach: 150 days
-- keys: zone_id, part
-- carries: state text
-- access: restricted
-- owner: water
--
-- In a zone with building meters the pipes and the buildings are watched, not their sum. Level 1 below 3 % of the zone's inflow,
-- 2 from there, 3 from 10 %. Confidence grows with the cumulative sum, one half at the threshold.
WITH last_of_tick AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY as_of, zone_id, part ORDER BY day_no DESC) AS nth,
        -- A day told late and the newest may be judged at one tick: what either changed counts.
        max(CAST(watch['raised'] AS INT)) OVER (PARTITION BY as_of, zone_id, part) = 1 AS raised
    FROM watched
), balanced AS (
    SELECT DISTINCT zone_id FROM meters WHERE role = 'submeter'
), told AS (
    SELECT
        l.*,
        watch['size_lps'] AS size_lps,
        watch['sum'] AS cusum,
        watch['is_open'] AND NOT (l.part = 'zone' AND b.zone_id IS NOT NULL) AS is_open
    FROM last_of_tick l
    LEFT JOIN balanced b ON b.zone_id = l.zone_id
    WHERE nth = 1
)
SELECT
    t.as_of, t.zone_id, t.part,
    CASE
        WHEN t.is_open AND size_lps >= 0.10 * inflow_lps THEN 3
        WHEN t.is_open AND size_lps >= 0.03 * inflow_lps THEN 2
        WHEN t.is_open THEN 1
        WHEN rise_in_scales IS NOT NULL THEN 0
    END AS level,
    CASE WHEN t.is_open THEN watch['class'] END AS class,
    CASE WHEN t.is_open THEN
        (arrow_cast(watch['started_day'] * 86400000000, 'Timestamp(Microsecond, None)') + INTERVAL '6 hours')
            AT TIME ZONE 'Europe/Oslo'
    END AS started_at,
    CASE WHEN t.is_open THEN watch['steps'] END AS step,
    t.raised AND t.is_open AS raised,
    watch['cleared'] AS cleared,
    CASE WHEN t.is_open THEN size_lps END AS size_lps,
    CASE WHEN t.is_open THEN 86.4 * size_lps END AS size_m3_per_day,
    CASE WHEN t.is_open THEN 7 * 86.4 * size_lps * p.price_nok_per_m3 END AS cost_nok_per_week,
    CASE WHEN t.is_open THEN cusum / (cusum + t.threshold) END AS confidence,
    cusum, rise_in_scales, level_rise_lps, low_rise_lps, level_lps, low_lps, night_lps, level_base_lps,
    greatest(level_scale_lps, low_scale_lps) AS scale_lps, inflow_lps, t.threshold, hours_known, local_day, day_type,
    watch['state'] AS state
FROM told t
CROSS JOIN (SELECT max(price_nok_per_m3) AS price_nok_per_m3 FROM water_prices) p
