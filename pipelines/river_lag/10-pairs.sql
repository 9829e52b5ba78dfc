-- meaning: rain and the river's rise of each step, where a flood was near
-- Only hours within a day before or half a day after a discharge of 75 % of the yellow threshold count: the lag of floods is
-- asked for, not that of summer showers. settled_at is when all of that could be known.
WITH steps AS (
    SELECT h.catchment_id, h.as_of, h.step_s, coalesce(h.rain_mm, 0) AS rain_mm,
        greatest(h.discharge_mm_per_h - lag(h.discharge_mm_per_h) OVER in_time, 0) AS rise_mm_per_h,
        max(h.discharge_mm_per_h) OVER around AS highest_mm_per_h,
        0.75 * c.yellow_m3_per_s * 3.6 / c.area_km2 AS near_mm_per_h
    FROM flood_hours h
    JOIN catchments c ON c.catchment_id = h.catchment_id
    WINDOW
        in_time AS (PARTITION BY h.catchment_id ORDER BY h.as_of),
        around AS (
            PARTITION BY h.catchment_id ORDER BY h.as_of
            RANGE BETWEEN INTERVAL '12 hours' PRECEDING AND INTERVAL '24 hours' FOLLOWING
        )
)
SELECT catchment_id, as_of, as_of + INTERVAL '24 hours' AS settled_at, step_s, rise_mm_per_h
FROM steps
WHERE highest_mm_per_h >= near_mm_per_h AND rise_mm_per_h IS NOT NULL
