-- meaning: floods as they were: times over a threshold, closer than 24 h being one
WITH levels AS (
    SELECT catchment_id, 1 AS level, yellow_m3_per_s AS threshold_m3_per_s FROM catchments
    UNION ALL SELECT catchment_id, 2, orange_m3_per_s FROM catchments
    UNION ALL SELECT catchment_id, 3, red_m3_per_s FROM catchments
),
over AS (
    SELECT h.catchment_id, l.level, h.as_of,
        lag(h.as_of) OVER (PARTITION BY h.catchment_id, l.level ORDER BY h.as_of) AS earlier
    FROM flood_hours h
    JOIN catchments c ON c.catchment_id = h.catchment_id
    JOIN levels l ON l.catchment_id = h.catchment_id AND h.discharge_mm_per_h * c.area_km2 / 3.6 >= l.threshold_m3_per_s
),
numbered AS (
    SELECT catchment_id, level, as_of,
        sum(CASE WHEN earlier IS NULL OR as_of - earlier > INTERVAL '24 hours' THEN 1 ELSE 0 END)
            OVER (PARTITION BY catchment_id, level ORDER BY as_of) AS event
    FROM over
)
SELECT catchment_id, level, event, min(as_of) AS onset_at, max(as_of) AS end_at
FROM numbered
GROUP BY catchment_id, level, event
