-- meaning: how far each day's level and lowest hours stand above the days before, in l/s and in the series' own scale
--
-- Base: the median of days -14..-5. The guard of four days keeps a young leak out of its own base; two weeks are short enough
-- that the seasons do not count. A building must also stand above days -38..-10, or everybody coming back after holidays would
-- look like a leak. Scale: 1.4826 x median of the rises of days -90..-3 without their sign (as a standard deviation, but deaf to
-- single days), at least a share of the zone's mean inflow. Measured on development sets, see README.md.
WITH days AS (
    SELECT
        *,
        CASE WHEN part IN ('zone', 'pipes') THEN part ELSE 'building' END AS part_kind
    FROM leak_days
), inflows AS (
    SELECT
        zone_id, day_no,
        median(mean_lps) OVER (PARTITION BY zone_id ORDER BY day_no RANGE BETWEEN 90 PRECEDING AND 3 PRECEDING) AS inflow_lps
    FROM leak_days WHERE part = 'zone'
), bases AS (
    SELECT
        *,
        CASE WHEN count(level_lps) OVER short >= 4 THEN median(level_lps) OVER short END AS level_base_lps,
        CASE WHEN count(low_lps) OVER short >= 4 THEN median(low_lps) OVER short END AS low_base_lps,
        CASE WHEN count(level_lps) OVER long >= 9 THEN median(level_lps) OVER long END AS level_long_lps,
        CASE WHEN count(low_lps) OVER long >= 9 THEN median(low_lps) OVER long END AS low_long_lps
    FROM days
    WINDOW
        short AS (PARTITION BY zone_id, part ORDER BY day_no RANGE BETWEEN 14 PRECEDING AND 5 PRECEDING),
        long AS (PARTITION BY zone_id, part ORDER BY day_no RANGE BETWEEN 38 PRECEDING AND 10 PRECEDING)
), rises AS (
    SELECT
        *,
        level_lps - level_base_lps AS level_rise_lps,
        low_lps - low_base_lps AS low_rise_lps,
        level_lps - level_long_lps AS level_long_rise_lps,
        low_lps - low_long_lps AS low_long_rise_lps
    FROM bases
), scales AS (
    SELECT
        *,
        CASE WHEN count(level_rise_lps) OVER past >= 15 THEN 1.4826 * median(abs(level_rise_lps)) OVER past END AS level_scale,
        CASE WHEN count(low_rise_lps) OVER past >= 15 THEN 1.4826 * median(abs(low_rise_lps)) OVER past END AS low_scale,
        1.4826 * median(abs(level_long_rise_lps)) OVER past AS level_long_scale,
        1.4826 * median(abs(low_long_rise_lps)) OVER past AS low_long_scale
    FROM rises
    WINDOW past AS (PARTITION BY zone_id, part ORDER BY day_no RANGE BETWEEN 90 PRECEDING AND 3 PRECEDING)
), floored AS (
    SELECT
        s.*, i.inflow_lps, t.threshold, t.share_at_least,
        t.share_at_least * i.inflow_lps AS floor_lps
    FROM scales s
    JOIN inflows i ON i.zone_id = s.zone_id AND i.day_no = s.day_no
    JOIN leak_thresholds t ON t.part_kind = s.part_kind
)
SELECT
    as_of, zone_id, part, part_kind, local_day, day_no, day_type, hours_known, inflow_lps, threshold,
    level_lps, low_lps, night_lps, level_base_lps, low_base_lps, level_rise_lps, low_rise_lps,
    greatest(level_scale, floor_lps) AS level_scale_lps, greatest(low_scale, floor_lps) AS low_scale_lps,
    CASE
        WHEN level_scale IS NULL OR low_scale IS NULL OR level_rise_lps IS NULL OR low_rise_lps IS NULL THEN NULL
        WHEN part_kind = 'building' THEN least(
            level_rise_lps / greatest(level_scale, floor_lps),
            low_rise_lps / greatest(low_scale, floor_lps),
            level_long_rise_lps / greatest(level_long_scale, floor_lps),
            low_long_rise_lps / greatest(low_long_scale, floor_lps))
        ELSE least(level_rise_lps / greatest(level_scale, floor_lps), low_rise_lps / greatest(low_scale, floor_lps))
    END AS rise_in_scales
FROM floored
