-- meaning: rain of each gauge and step, at the tick it became known
-- A row belongs to the step it fell in (step_end) and to the tick at which we knew it (as_of): late rain must not change a tick
-- that has been answered. First deliveries only: a correction hours later would count the rain twice.
WITH arrivals AS (
    SELECT g.catchment_id, g.gauge_id, c.step_s, p.rain_mm, p.observed_at, p.received_at,
        CAST(ceil(date_part('epoch', p.observed_at) / c.step_s) AS BIGINT) * c.step_s AS step_end_s,
        CAST(ceil(date_part('epoch', greatest(p.observed_at, p.received_at)) / c.step_s) AS BIGINT) * c.step_s AS known_s
    FROM precipitation p
    JOIN catchment_gauges g ON g.gauge_id = p.gauge_id
    JOIN catchments c ON c.catchment_id = g.catchment_id
    WHERE p.revision = 0
),
amounts AS (
    SELECT catchment_id, gauge_id, step_end_s, known_s, sum(rain_mm) AS rain_mm
    FROM arrivals
    -- Rain that comes more than a day late is of no use to a flood warning.
    WHERE known_s - step_end_s < 86400
    GROUP BY catchment_id, gauge_id, step_end_s, known_s
)
SELECT catchment_id, gauge_id, step_end_s, known_s, rain_mm,
    sum(rain_mm) OVER (
        PARTITION BY catchment_id, gauge_id ORDER BY known_s RANGE BETWEEN 43199 PRECEDING AND CURRENT ROW
    ) AS rain_12h_mm
FROM amounts
