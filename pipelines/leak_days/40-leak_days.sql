-- product: leak_days
-- meaning: what a leak would change in the day of a zone, a pipe balance or a building: level, lowest hours, night flow
-- kind: table
-- every: 1 day at 07:30 Europe/Oslo
-- reach: 155 days
-- keys: zone_id, part, local_day
-- access: restricted
-- owner: water
--
-- A zone's level is the median over the day of flow minus shape (in a power test as strong as weighted least squares). Of the
-- pipe balance, which hardly varies, it is the mean of the middle 70 % of hours, finer than a register's step; of a building,
-- whose use stops at times, its 15th percentile. The 5th percentile of 24 hours is about the second lowest. Means are summed as
-- whole nanolitres, which add up to the same in any order of rows.
WITH wide AS (
    SELECT
        *,
        percentile_cont(flow_lps, 0.15) OVER w AS p15_lps,
        percentile_cont(flow_lps, 0.85) OVER w AS p85_lps
    FROM hours
    WHERE part <> 'zone'
    WINDOW w AS (PARTITION BY zone_id, part, day_no)
), zone_days AS (
    SELECT
        max(as_of) AS as_of, zone_id, part, local_day, max(day_no) AS day_no, max(day_type) AS day_type, max(age_days) AS age_days,
        count(flow_lps) AS hours_known,
        sum(nl_per_s) / (1e9 * nullif(count(flow_lps), 0)) AS mean_lps,
        median(flow_lps - shape_lps) AS level_lps,
        percentile_cont(flow_lps, 0.05) AS low_lps,
        min(CASE WHEN local_hour BETWEEN 1 AND 4 THEN flow_lps END) AS night_lps
    FROM shapes
    GROUP BY zone_id, part, local_day
), part_days AS (
    SELECT
        max(as_of) AS as_of, zone_id, part, local_day, max(day_no) AS day_no, max(day_type) AS day_type, max(age_days) AS age_days,
        count(flow_lps) AS hours_known,
        sum(nl_per_s) / (1e9 * nullif(count(flow_lps), 0)) AS mean_lps,
        CASE WHEN part = 'pipes'
            THEN sum(CASE WHEN flow_lps BETWEEN p15_lps AND p85_lps THEN nl_per_s END)
                / (1e9 * nullif(count(CASE WHEN flow_lps BETWEEN p15_lps AND p85_lps THEN 1 END), 0))
            ELSE max(p15_lps) END AS level_lps,
        CASE WHEN part = 'pipes' THEN percentile_cont(flow_lps, 0.25)
            ELSE percentile_cont(flow_lps, 0.05) END AS low_lps,
        min(CASE WHEN local_hour BETWEEN 1 AND 4 THEN flow_lps END) AS night_lps
    FROM wide
    GROUP BY zone_id, part, local_day
    HAVING part = 'pipes' OR max(flow_lps) > 0
), all_days AS (
    SELECT * FROM zone_days UNION ALL SELECT * FROM part_days
)
SELECT
    as_of, zone_id, part, local_day, day_no, day_type, age_days, hours_known,
    mean_lps,
    CASE WHEN hours_known >= 18 THEN level_lps END AS level_lps,
    CASE WHEN hours_known >= 18 THEN low_lps END AS low_lps,
    night_lps
FROM all_days
WHERE as_of IN (SELECT as_of FROM ticks)
