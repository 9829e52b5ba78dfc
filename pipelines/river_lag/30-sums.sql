-- meaning: sums over the pairs of each month and lag: what a correlation is made of
-- Months can be added up, so that a tick reads a few hundred rows and not the whole record again.
WITH rains AS (
    SELECT catchment_id, CAST(date_part('epoch', as_of) AS BIGINT) AS rain_at_s, coalesce(rain_mm, 0) AS rain_mm
    FROM flood_hours
)
SELECT p.catchment_id, date_trunc('month', p.settled_at) AS month, p.step_s, p.lag_h, count(*) AS n,
    sum(r.rain_mm) AS x, sum(p.rise_mm_per_h) AS y,
    sum(r.rain_mm * r.rain_mm) AS xx, sum(p.rise_mm_per_h * p.rise_mm_per_h) AS yy, sum(r.rain_mm * p.rise_mm_per_h) AS xy
FROM lagged p
JOIN rains r ON r.catchment_id = p.catchment_id AND r.rain_at_s = p.rain_at_s
GROUP BY p.catchment_id, date_trunc('month', p.settled_at), p.step_s, p.lag_h
