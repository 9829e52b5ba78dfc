-- product: landslide_index
-- meaning: How unusual today's wet soil and water supply are for each catchment; an index, not calibrated against landslides
-- kind: table
-- every: 1 day at 07:00 Europe/Oslo
-- reach: 3700 days
-- keys: catchment_id
-- access: internal
-- owner: water
--
-- Both as shares of the catchment's own earlier days that were no wetter, and their product, in the manner of NVE's
-- hydmet thresholds (Boje et al. 2014, NVE report 44), which rest on soil saturation and water supply too. Null under a year.
WITH todays AS (
    SELECT t.as_of AS tick, d.*
    FROM ticks t
    JOIN daily d ON d.as_of = date_bin(INTERVAL '1 day', t.as_of) + INTERVAL '5 hours'
),
ranked AS (
    SELECT t.tick, t.catchment_id, t.saturation, t.supply_24h_mm, count(*) AS days,
        avg(CASE WHEN e.saturation <= t.saturation THEN 1.0 ELSE 0.0 END) AS saturation_share,
        avg(CASE WHEN e.supply_24h_mm <= t.supply_24h_mm THEN 1.0 ELSE 0.0 END) AS supply_share
    FROM todays t
    JOIN daily e ON e.catchment_id = t.catchment_id AND e.as_of < t.as_of
    GROUP BY t.tick, t.catchment_id, t.saturation, t.supply_24h_mm
)
SELECT tick AS as_of, catchment_id, saturation, supply_24h_mm, days,
    CASE WHEN days >= 365 THEN saturation_share END AS saturation_share,
    CASE WHEN days >= 365 THEN supply_share END AS supply_share,
    CASE WHEN days >= 365 THEN saturation_share * supply_share END AS index,
    'uncalibrated' AS status
FROM ranked
