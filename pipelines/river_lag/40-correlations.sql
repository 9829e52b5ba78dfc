-- meaning: correlation of rain with the rise that follows it by each lag, at the first tick of each month
WITH months AS (
    SELECT as_of FROM ticks WHERE date_part('day', as_of) = 1
),
totals AS (
    SELECT m.as_of, s.catchment_id, s.step_s, s.lag_h,
        sum(s.n) AS n, sum(s.x) AS x, sum(s.y) AS y, sum(s.xx) AS xx, sum(s.yy) AS yy, sum(s.xy) AS xy
    FROM months m
    JOIN sums s ON s.month < date_trunc('month', m.as_of) AND s.month >= m.as_of - INTERVAL '7300 days'
    GROUP BY m.as_of, s.catchment_id, s.step_s, s.lag_h
)
SELECT as_of, catchment_id, step_s, lag_h, n,
    (n * xy - x * y) / nullif(sqrt((n * xx - x * x) * (n * yy - y * y)), 0) AS correlation
FROM totals
