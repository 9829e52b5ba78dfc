-- product: river_stage_hints
-- meaning: Hours until each river reaches its next threshold if it goes on at its present rate: a hint for gates and pumps
-- kind: table
-- every: 1 hour
-- reach: 3 days
-- keys: catchment_id
-- access: internal
-- owner: water
--
-- The rate is that of the last three hours. No hint when the river falls, stands, or has not been read for six hours.
WITH rates AS (
    SELECT s.as_of, s.catchment_id, s.discharge_at,
        s.discharge_mm_per_h * c.area_km2 / 3.6 AS discharge_m3_per_s,
        s.rise_mm_per_h / 3 * c.area_km2 / 3.6 AS rise_m3_per_s_per_h,
        c.yellow_m3_per_s, c.orange_m3_per_s, c.red_m3_per_s
    FROM flood_state s
    JOIN catchments c ON c.catchment_id = s.catchment_id
    WHERE s.as_of > $since AND s.as_of <= $as_of
),
next_thresholds AS (
    SELECT *,
        CASE
            WHEN discharge_m3_per_s < yellow_m3_per_s THEN yellow_m3_per_s
            WHEN discharge_m3_per_s < orange_m3_per_s THEN orange_m3_per_s
            WHEN discharge_m3_per_s < red_m3_per_s THEN red_m3_per_s
        END AS threshold_m3_per_s
    FROM rates
)
SELECT as_of, catchment_id, discharge_at, discharge_m3_per_s, rise_m3_per_s_per_h, threshold_m3_per_s,
    CASE WHEN rise_m3_per_s_per_h > 0
        THEN (threshold_m3_per_s - discharge_m3_per_s) / rise_m3_per_s_per_h
    END AS hours_to_threshold
FROM next_thresholds
