-- meaning: each reading with the change since the one before
SELECT
    *,
    value - lag(value) OVER (PARTITION BY as_of, meter_id ORDER BY observed_at) AS growth,
    lag(value) OVER (PARTITION BY as_of, meter_id ORDER BY observed_at) AS value_before
FROM newest
