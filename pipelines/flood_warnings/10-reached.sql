-- meaning: the level the expected discharge reaches, and the level it still supports once a warning is out
-- A warning is let go of below 0.75 of its threshold. Thresholds are the reference table's: discharges of a return period.
WITH shares AS (
    SELECT s.*,
        expected_mm_per_h * c.area_km2 / 3.6 AS expected_m3_per_s,
        s.discharge_mm_per_h * c.area_km2 / 3.6 AS discharge_m3_per_s,
        c.yellow_m3_per_s, c.orange_m3_per_s, c.red_m3_per_s
    FROM flood_state s
    JOIN catchments c ON c.catchment_id = s.catchment_id
    WHERE s.as_of > $since AND s.as_of <= $as_of
)
SELECT *,
    CASE
        WHEN expected_m3_per_s IS NULL THEN NULL
        WHEN expected_m3_per_s >= red_m3_per_s THEN 3
        WHEN expected_m3_per_s >= orange_m3_per_s THEN 2
        WHEN expected_m3_per_s >= yellow_m3_per_s THEN 1
        ELSE 0
    END AS raised,
    CASE
        WHEN expected_m3_per_s IS NULL THEN NULL
        WHEN expected_m3_per_s >= 0.75 * red_m3_per_s THEN 3
        WHEN expected_m3_per_s >= 0.75 * orange_m3_per_s THEN 2
        WHEN expected_m3_per_s >= 0.75 * yellow_m3_per_s THEN 1
        ELSE 0
    END AS kept
FROM shares
