-- meaning: rain expected in the next three steps, by the forecast issued in this step
WITH issued AS (
    SELECT g.catchment_id, c.step_s, f.rain_mm, f.valid_at,
        CAST(ceil(date_part('epoch', greatest(f.observed_at, f.received_at)) / c.step_s) AS BIGINT) * c.step_s AS known_s
    FROM precipitation_forecast f
    JOIN catchment_gauges g ON g.gauge_id = f.gauge_id
    JOIN catchments c ON c.catchment_id = g.catchment_id
    WHERE f.received_at < f.observed_at + INTERVAL '3 hours'
),
steps AS (
    SELECT catchment_id, known_s, rain_mm,
        CAST(ceil((date_part('epoch', valid_at) - known_s) / step_s) AS BIGINT) AS steps_ahead
    FROM issued
)
SELECT catchment_id, arrow_cast(to_timestamp_seconds(known_s), 'Timestamp(Microsecond, Some("UTC"))') AS as_of,
    avg(rain_mm) FILTER (WHERE steps_ahead = 1) AS ahead_1_mm,
    avg(rain_mm) FILTER (WHERE steps_ahead = 2) AS ahead_2_mm,
    avg(rain_mm) FILTER (WHERE steps_ahead = 3) AS ahead_3_mm
FROM steps
WHERE steps_ahead BETWEEN 1 AND 3
GROUP BY catchment_id, known_s
