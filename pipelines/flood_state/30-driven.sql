-- meaning: each step with the parameters in force and the state to start from
-- Without a year of record the parameters are those of SoilParameters::default(), and there is no regression.
SELECT r.*,
    CAST(r.step_s / 3600 AS BIGINT) AS step_h,
    round(r.rain_0_3_mm / 3, 6) AS persisting_mm_per_h,
    coalesce(v.production_mm, 200.0) AS production_mm,
    coalesce(v.exchange_mm_per_h, 0.0) AS exchange_mm_per_h,
    coalesce(v.routing_mm, 60.0) AS routing_mm,
    coalesce(v.delay_h, 4.0) AS delay_h,
    coalesce(v.melt_mm_per_degc_day, 3.0) AS melt_mm_per_degc_day,
    coalesce(v.snow_correction, 1.2) AS snow_correction,
    coalesce(v.band_range_degc, 4.0) AS band_range_degc,
    coalesce(v.evaporation_factor, 1.0) AS evaporation_factor,
    v.valid_from AS parameters_from,
    p.state AS previous_state
FROM recent r
LEFT JOIN validity v ON v.catchment_id = r.catchment_id
    AND v.valid_from <= r.as_of AND (v.valid_to IS NULL OR r.as_of < v.valid_to)
LEFT JOIN previous p ON p.catchment_id = r.catchment_id
