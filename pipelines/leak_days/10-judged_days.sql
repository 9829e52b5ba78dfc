-- meaning: for each zone, part and local day the tick that judges it: the first at which 18 of its hours are known, or the last
--
-- 18 of 24: a median of fewer hours is that of a part of the day. A day that never gets there is judged three days later.
WITH told AS (
    SELECT
        *,
        count(flow_lps) OVER (PARTITION BY zone_id, part, local_day, age_days) AS hours_known
    FROM water_zone_hours
    WHERE CAST(local_day AS DATE) > CAST($since AS DATE) - INTERVAL '155 days'
)
SELECT
    *,
    min(CASE WHEN hours_known >= 18 OR age_days = 3 THEN age_days END) OVER (PARTITION BY zone_id, part, local_day) AS judged_age
FROM told
