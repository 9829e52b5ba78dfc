-- meaning: saturation of the soil and water supply of each day, at its morning tick
SELECT t.as_of, s.catchment_id,
    max(s.saturation) FILTER (WHERE s.as_of > t.as_of - INTERVAL '6 hours') AS saturation,
    sum(s.liquid_mm) AS supply_24h_mm
FROM (SELECT DISTINCT date_bin(INTERVAL '1 day', as_of) + INTERVAL '5 hours' AS as_of FROM flood_state) t
JOIN flood_state s ON s.as_of > t.as_of - INTERVAL '24 hours' AND s.as_of <= t.as_of
WHERE t.as_of <= $as_of
GROUP BY t.as_of, s.catchment_id
