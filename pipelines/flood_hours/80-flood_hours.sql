-- product: flood_hours
-- meaning: What drives a catchment and what its river did, step by step, cleaned, as it was known at the end of each step
-- kind: table
-- every: 1 hour
-- reach: 5 days
-- keys: catchment_id
-- access: public
-- owner: water
WITH seasons AS (
    -- Extraterrestrial radiation, MJ/m2/d (FAO Irrigation and Drainage Paper 56, equations 21 to 25), by day and latitude.
    SELECT *, 0.409 * sin(2 * pi() * day_of_year / 365 - 1.39) AS declination,
        1 + 0.033 * cos(2 * pi() * day_of_year / 365) AS sun_nearness
    FROM (
        SELECT DISTINCT catchment_id, date_part('doy', as_of) AS day_of_year, radians(latitude_deg) AS latitude
        FROM moments
    )
),
suns AS (
    SELECT *, acos(greatest(least(-tan(latitude) * tan(declination), 1), -1)) AS sunset_angle
    FROM seasons
),
radiation AS (
    SELECT catchment_id, day_of_year,
        37.6 * sun_nearness * (
            sunset_angle * sin(latitude) * sin(declination) + cos(latitude) * cos(declination) * sin(sunset_angle)
        ) AS radiation_mj_per_m2_day
    FROM suns
)
SELECT m.as_of, m.catchment_id, m.step_s,
    p.rain_mm, p.gauges, w.air_degc,
    -- Where nobody measures it: Oudin et al. 2005 (J. Hydrol. 303). Without a temperature, that of a mild day.
    coalesce(w.evaporation_mm,
        greatest(coalesce(w.air_degc, 8) + 5, 0) / 100 * s.radiation_mj_per_m2_day / 2.45 * m.step_s / 86400
    ) AS evaporation_mm,
    r.stage_cm, coalesce(i.ice, FALSE) AS ice,
    CASE WHEN i.ice THEN NULL ELSE r.discharge_mm_per_h END AS discharge_mm_per_h,
    a.ahead_1_mm, a.ahead_2_mm, a.ahead_3_mm
FROM moments m
LEFT JOIN rain p ON p.catchment_id = m.catchment_id AND p.as_of = m.as_of
LEFT JOIN weather w ON w.catchment_id = m.catchment_id AND w.as_of = m.as_of
LEFT JOIN river_steps r ON r.catchment_id = m.catchment_id AND r.as_of = m.as_of
LEFT JOIN ice i ON i.catchment_id = m.catchment_id AND i.as_of = m.as_of
LEFT JOIN ahead a ON a.catchment_id = m.catchment_id AND a.as_of = m.as_of
LEFT JOIN radiation s ON s.catchment_id = m.catchment_id AND s.day_of_year = date_part('doy', m.as_of)
