-- product: flood_state
-- meaning: Water in each catchment, and the discharge its river will reach, with and without the rain forecast
-- kind: table
-- every: 1 hour
-- reach: 3 days
-- keys: catchment_id
-- carries: state text
-- access: public
-- owner: water
--
-- basis: 'model' (soil model and regression), 'young' (soil model with default parameters: under a year of record),
-- 'stage' (no rain known for 6 h: the river's rise goes on for 3 h), null (no river for 6 h: nothing to stand on).
-- 0.90, 0.95 and 1.12: the model's crest is a little low and the regression's a little high at the yellow threshold; measured on
-- the development catchments, see README.md. Discharges as mm/h over the catchment; 1 mm/h is area/3.6 m3/s.
WITH based AS (
    SELECT *,
        CASE
            WHEN carried_mm_per_h IS NULL THEN NULL
            WHEN rain_at IS NULL OR as_of - rain_at > INTERVAL '6 hours' THEN 'stage'
            WHEN regression_mm_per_h IS NULL THEN 'young'
            ELSE 'model'
        END AS basis
    FROM crests
),
expected AS (
    SELECT *,
        CASE basis
            WHEN 'stage' THEN greatest(carried_mm_per_h + rise_mm_per_h, 0)
            WHEN 'young' THEN crest_mm_per_h / 0.90
            WHEN 'model' THEN 0.5 * crest_mm_per_h / 0.90 + 0.5 * regression_mm_per_h / 1.12
        END AS expected_mm_per_h,
        CASE basis
            WHEN 'stage' THEN greatest(carried_mm_per_h + rise_mm_per_h, 0)
            WHEN 'young' THEN forecast_crest_mm_per_h / 0.90
            WHEN 'model' THEN CASE
                WHEN has_forecast AND forecast_regression_mm_per_h IS NOT NULL
                THEN 0.5 * forecast_crest_mm_per_h / 0.95 + 0.5 * forecast_regression_mm_per_h / 1.12
                ELSE 0.5 * forecast_crest_mm_per_h / 0.90 + 0.5 * regression_mm_per_h / 1.12
            END
        END AS forecast_expected_mm_per_h
    FROM based
)
SELECT as_of, catchment_id, basis, parameters_from, has_forecast,
    discharge_at, rain_at, carried_mm_per_h AS discharge_mm_per_h, rise_mm_per_h,
    rain_0_3_mm, rain_3_6_mm, rain_6_12_mm, rain_12_24_mm, ahead_mm, warmth_degc,
    saturation, snow_water_mm, liquid_mm, api_mm, simulated_mm_per_h, model_error,
    crest_mm_per_h, crest_ahead_h, regression_mm_per_h, expected_mm_per_h,
    forecast_crest_mm_per_h, forecast_crest_ahead_h, forecast_regression_mm_per_h, forecast_expected_mm_per_h,
    state
FROM expected
