-- product: river_lag
-- meaning: How long after the rain each river rises, from its own floods, and whether that has changed
-- kind: table
-- every: 1 day at 05:00 Europe/Oslo
-- reach: 7400 days
-- keys: catchment_id
-- carries: last_lag_h float
-- access: public
-- owner: water
--
-- Answers on the first of each month. The best lag is refined by a parabola through its neighbours, and refused (null) where
-- the correlation is under 0.15 or fewer than 48 steps count. changed: more than one step from the last accepted lag.
WITH neighbours AS (
    SELECT *,
        lag(correlation) OVER in_order AS shorter,
        lead(correlation) OVER in_order AS longer,
        row_number() OVER (PARTITION BY as_of, catchment_id ORDER BY correlation DESC NULLS LAST, lag_h) AS place
    FROM correlations
    WINDOW in_order AS (PARTITION BY as_of, catchment_id ORDER BY lag_h)
),
refined AS (
    SELECT as_of, catchment_id, step_s, correlation, n,
        CASE WHEN correlation >= 0.15 AND n >= 48 THEN
            lag_h + coalesce(
                0.5 * (shorter - longer) / nullif(shorter - 2 * correlation + longer, 0) * step_s / 3600.0, 0)
        END AS lag_h
    FROM neighbours
    WHERE place = 1
),
followed AS (
    SELECT *,
        last_value(lag_h) IGNORE NULLS OVER (
            PARTITION BY catchment_id ORDER BY as_of ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS earlier_lag_h
    FROM refined
)
SELECT f.as_of, f.catchment_id, f.lag_h, f.correlation, f.n AS steps,
    coalesce(f.earlier_lag_h, p.last_lag_h) AS previous_lag_h,
    coalesce(f.lag_h, f.earlier_lag_h, p.last_lag_h) AS last_lag_h,
    coalesce(abs(f.lag_h - coalesce(f.earlier_lag_h, p.last_lag_h)) > f.step_s / 3600.0, FALSE) AS changed
FROM followed f
LEFT JOIN previous p ON p.catchment_id = f.catchment_id
