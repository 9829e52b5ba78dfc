-- meaning: steps in which ice may hold the river up: what the stage says is then no discharge
-- Three days of hard frost, and a stage that rises without rain or melt. Bounds measured on the development catchments with ice.
WITH together AS (
    SELECT r.catchment_id, r.as_of, r.stage_cm, r.ice, w.air_degc, coalesce(p.rain_mm, 0) AS rain_mm
    FROM river_steps r
    LEFT JOIN weather w ON w.catchment_id = r.catchment_id AND w.as_of = r.as_of
    LEFT JOIN rain p ON p.catchment_id = r.catchment_id AND p.as_of = r.as_of
),
recent AS (
    SELECT catchment_id, as_of, stage_cm, ice,
        avg(air_degc) OVER last_3d AS air_3d_degc,
        min(stage_cm) OVER last_12h AS lowest_12h_cm,
        sum(rain_mm) OVER last_6h AS rain_6h_mm,
        max(air_degc) OVER last_6h AS warmest_6h_degc
    FROM together
    WINDOW
        last_3d AS (PARTITION BY catchment_id ORDER BY as_of RANGE BETWEEN INTERVAL '71 hours' PRECEDING AND CURRENT ROW),
        last_12h AS (PARTITION BY catchment_id ORDER BY as_of RANGE BETWEEN INTERVAL '11 hours' PRECEDING AND CURRENT ROW),
        last_6h AS (PARTITION BY catchment_id ORDER BY as_of RANGE BETWEEN INTERVAL '5 hours' PRECEDING AND CURRENT ROW)
)
SELECT catchment_id, as_of,
    coalesce(ice, FALSE) OR (
        coalesce(air_3d_degc < -4 AND stage_cm > lowest_12h_cm + 3, FALSE)
        AND NOT coalesce(rain_6h_mm > 1 AND warmest_6h_degc > 0, FALSE)
    ) AS ice
FROM recent
