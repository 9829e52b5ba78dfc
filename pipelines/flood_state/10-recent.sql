-- meaning: the last day of each catchment: rain by age, the river's rise, how old the newest inputs are
-- Windows end just short of the full hours so that a step at the far edge is not counted. Sums are rounded: a window that slides
-- over a year adds up its rain in another order than one that starts today.
WITH carried AS (
    SELECT *,
        -- A missing discharge is the last one for at most six hours.
        last_value(discharge_mm_per_h) IGNORE NULLS OVER newest_6h
            AS carried_mm_per_h,
        max(CASE WHEN discharge_mm_per_h IS NOT NULL THEN as_of END) OVER newest_24h AS discharge_at,
        max(CASE WHEN rain_mm IS NOT NULL THEN as_of END) OVER newest_24h AS rain_at,
        sum(rain_mm) OVER last_3h AS sum_3h_mm,
        sum(rain_mm) OVER last_6h AS sum_6h_mm,
        sum(rain_mm) OVER last_12h AS sum_12h_mm,
        sum(rain_mm) OVER last_24h AS sum_24h_mm,
        avg(air_degc) OVER last_6h AS mean_6h_degc
    FROM flood_hours
    WHERE as_of > $since - INTERVAL '2 days'
    WINDOW
        newest_6h AS (PARTITION BY catchment_id ORDER BY as_of RANGE BETWEEN INTERVAL '6 hours' PRECEDING AND CURRENT ROW),
        newest_24h AS (PARTITION BY catchment_id ORDER BY as_of RANGE BETWEEN INTERVAL '24 hours' PRECEDING AND CURRENT ROW),
        last_3h AS (PARTITION BY catchment_id ORDER BY as_of RANGE BETWEEN INTERVAL '179 minutes' PRECEDING AND CURRENT ROW),
        last_6h AS (PARTITION BY catchment_id ORDER BY as_of RANGE BETWEEN INTERVAL '359 minutes' PRECEDING AND CURRENT ROW),
        last_12h AS (PARTITION BY catchment_id ORDER BY as_of RANGE BETWEEN INTERVAL '719 minutes' PRECEDING AND CURRENT ROW),
        last_24h AS (PARTITION BY catchment_id ORDER BY as_of RANGE BETWEEN INTERVAL '1439 minutes' PRECEDING AND CURRENT ROW)
),
risen AS (
    SELECT *,
        first_value(carried_mm_per_h) OVER (
            PARTITION BY catchment_id ORDER BY as_of RANGE BETWEEN INTERVAL '3 hours' PRECEDING AND CURRENT ROW
        ) AS earlier_mm_per_h
    FROM carried
)
SELECT *,
    coalesce(carried_mm_per_h - earlier_mm_per_h, 0) AS rise_mm_per_h,
    coalesce(round(sum_3h_mm, 6), 0) AS rain_0_3_mm,
    coalesce(round(sum_6h_mm, 6), 0) - coalesce(round(sum_3h_mm, 6), 0) AS rain_3_6_mm,
    coalesce(round(sum_12h_mm, 6), 0) - coalesce(round(sum_6h_mm, 6), 0) AS rain_6_12_mm,
    coalesce(round(sum_24h_mm, 6), 0) - coalesce(round(sum_12h_mm, 6), 0) AS rain_12_24_mm,
    greatest(coalesce(round(mean_6h_degc, 6), 0), 0) AS warmth_degc,
    coalesce(ahead_1_mm, ahead_2_mm, ahead_3_mm) IS NOT NULL AS has_forecast,
    coalesce(ahead_1_mm, 0) + coalesce(ahead_2_mm, 0) + coalesce(ahead_3_mm, 0) AS ahead_mm
FROM risen
WHERE as_of > $since
