-- meaning: what `calibrate flood` wrote for each catchment, with the end of its validity
SELECT *,
    lead(valid_from) OVER (PARTITION BY catchment_id ORDER BY valid_from) AS valid_to
FROM flood_parameters
