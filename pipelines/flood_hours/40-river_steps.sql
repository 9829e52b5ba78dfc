-- meaning: newest stage and discharge of each step, as far as they had come by its end
WITH arrivals AS (
    SELECT c.catchment_id, c.step_s, r.stage_cm, r.ice, r.observed_at, r.seq,
        -- Stations that give only a stage go through the rating curve of the reference table.
        coalesce(r.discharge_m3_per_s,
            -- A column that is empty throughout has no type until it is cast.
            CAST(c.rating_factor AS DOUBLE) * power(greatest(r.stage_cm - CAST(c.rating_zero_cm AS DOUBLE), 0), CAST(c.rating_exponent AS DOUBLE))
        ) * 3.6 / c.area_km2 AS discharge_mm_per_h,
        CAST(ceil(date_part('epoch', greatest(r.observed_at, r.received_at)) / c.step_s) AS BIGINT) * c.step_s AS known_s
    FROM river r
    JOIN catchments c ON c.station_id = r.station_id
),
newest AS (
    SELECT *, row_number() OVER (PARTITION BY catchment_id, known_s ORDER BY observed_at DESC, seq DESC) AS place
    FROM arrivals
    -- Older than its step: it came too late to say where the river stands.
    WHERE date_part('epoch', observed_at) > known_s - step_s
)
SELECT catchment_id, arrow_cast(to_timestamp_seconds(known_s), 'Timestamp(Microsecond, Some("UTC"))') AS as_of,
    stage_cm, ice, discharge_mm_per_h
FROM newest
WHERE place = 1
