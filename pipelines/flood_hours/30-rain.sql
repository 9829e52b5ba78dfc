-- meaning: rain of the catchment: the mean of the gauges that can be believed
-- A gauge that says less than 0.2 mm in 12 h while another one says more than 6 mm is stuck or blocked (development sets: gauges
-- stick at zero about 8 times a year, 14 h each) and is left out as long as that is so.
WITH compared AS (
    SELECT *,
        -- Of the last three hours: a stuck gauge must not answer alone because the good one is late.
        max(rain_12h_mm) OVER (
            PARTITION BY catchment_id ORDER BY known_s RANGE BETWEEN 10800 PRECEDING AND CURRENT ROW
        ) AS wettest_12h_mm
    FROM gauge_rain
),
means AS (
    SELECT catchment_id, step_end_s, known_s, avg(rain_mm) AS rain_mm, count(*) AS gauges
    FROM compared
    WHERE NOT (rain_12h_mm < 0.2 AND wettest_12h_mm > 6)
    GROUP BY catchment_id, step_end_s, known_s
),
-- A step counts when the first of its gauges is known; the others, if later, add nothing.
first_known AS (
    SELECT *, row_number() OVER (PARTITION BY catchment_id, step_end_s ORDER BY known_s) AS place
    FROM means
)
SELECT catchment_id, arrow_cast(to_timestamp_seconds(known_s), 'Timestamp(Microsecond, Some("UTC"))') AS as_of,
    sum(rain_mm) AS rain_mm, max(gauges) AS gauges
FROM first_known
WHERE place = 1
GROUP BY catchment_id, known_s
