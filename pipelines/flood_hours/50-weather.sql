-- meaning: air temperature and potential evapotranspiration of each step, as far as they had come by its end
WITH air AS (
    SELECT c.catchment_id,
        CAST(ceil(date_part('epoch', greatest(t.observed_at, t.received_at)) / c.step_s) AS BIGINT) * c.step_s AS known_s,
        avg(t.temperature_degc) AS air_degc
    FROM temperature t
    JOIN catchments c ON c.temperature_sensor_id = t.sensor_id
    WHERE t.kind = 'air' AND t.revision = 0
        AND t.received_at < t.observed_at + INTERVAL '3 hours'
    GROUP BY 1, 2
),
evaporation AS (
    SELECT c.catchment_id,
        CAST(ceil(date_part('epoch', greatest(e.observed_at, e.received_at)) / c.step_s) AS BIGINT) * c.step_s AS known_s,
        sum(e.evapotranspiration_mm) AS evaporation_mm
    FROM evapotranspiration e
    JOIN catchments c ON c.evaporation_area_id = e.area_id
    WHERE e.revision = 0 AND e.received_at < e.observed_at + INTERVAL '3 hours'
    GROUP BY 1, 2
)
SELECT coalesce(a.catchment_id, e.catchment_id) AS catchment_id,
    arrow_cast(to_timestamp_seconds(coalesce(a.known_s, e.known_s)), 'Timestamp(Microsecond, Some("UTC"))') AS as_of,
    a.air_degc, e.evaporation_mm
FROM air a
FULL JOIN evaporation e ON e.catchment_id = a.catchment_id AND e.known_s = a.known_s
