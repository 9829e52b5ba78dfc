-- meaning: each pair once for every lag of 0 to 24 h that is whole steps, with the moment its rain would have fallen
SELECT p.catchment_id, p.settled_at, p.step_s, p.rise_mm_per_h, l.lag_h,
    CAST(date_part('epoch', p.as_of) AS BIGINT) - l.lag_h * 3600 AS rain_at_s
FROM pairs p
CROSS JOIN (SELECT unnest(range(0, 25)) AS lag_h) l
WHERE l.lag_h * 3600 % p.step_s = 0
