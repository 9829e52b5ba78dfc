-- meaning: the two opinions on the highest discharge of the hours ahead: the soil model's crest and the regression
-- The state of the soil is flattened here; `observed_*` are the weights on what was measured, `forecast_*` those that also
-- know the rain expected in the next three steps.
WITH flat AS (
    SELECT s.*,
        get_field(s.soil, 'saturation') AS saturation,
        get_field(s.soil, 'snow_water_mm') AS snow_water_mm,
        get_field(s.soil, 'liquid_mm') AS liquid_mm,
        get_field(s.soil, 'api_mm') AS api_mm,
        get_field(s.soil, 'simulated_mm_per_h') AS simulated_mm_per_h,
        get_field(s.soil, 'error') AS model_error,
        greatest(get_field(s.soil, 'crest_mm_per_h'), coalesce(carried_mm_per_h, 0)) AS crest_mm_per_h,
        get_field(s.soil, 'crest_ahead_h') AS crest_ahead_h,
        greatest(get_field(s.soil, 'forecast_crest_mm_per_h'), coalesce(carried_mm_per_h, 0)) AS forecast_crest_mm_per_h,
        get_field(s.soil, 'forecast_crest_ahead_h') AS forecast_crest_ahead_h,
        get_field(s.soil, 'state') AS state
    FROM soil s
)
SELECT f.*,
    CASE WHEN v.observed_constant IS NOT NULL THEN greatest(carried_mm_per_h,
        v.observed_constant
        + v.observed_discharge * carried_mm_per_h
        + v.observed_rise * rise_mm_per_h
        + v.observed_rain_0_3 * rain_0_3_mm
        + v.observed_rain_3_6 * rain_3_6_mm
        + v.observed_rain_6_12 * rain_6_12_mm
        + v.observed_rain_12_24 * rain_12_24_mm
        + v.observed_api * api_mm
        + v.observed_api_rain * api_mm * (rain_0_3_mm + rain_3_6_mm)
        + v.observed_warmth * warmth_degc
    ) END AS regression_mm_per_h,
    CASE WHEN v.forecast_constant IS NOT NULL THEN greatest(carried_mm_per_h,
        v.forecast_constant
        + v.forecast_discharge * carried_mm_per_h
        + v.forecast_rise * rise_mm_per_h
        + v.forecast_rain_0_3 * rain_0_3_mm
        + v.forecast_rain_3_6 * rain_3_6_mm
        + v.forecast_rain_6_12 * rain_6_12_mm
        + v.forecast_rain_12_24 * rain_12_24_mm
        + v.forecast_api * api_mm
        + v.forecast_api_rain * api_mm * (rain_0_3_mm + rain_3_6_mm)
        + v.forecast_warmth * warmth_degc
        + v.forecast_ahead * ahead_mm
    ) END AS forecast_regression_mm_per_h
FROM flat f
LEFT JOIN validity v ON v.catchment_id = f.catchment_id AND v.valid_from = f.parameters_from
