-- meaning: snow, soil and crests ahead, carried from step to step
SELECT *,
    soil_state(
        step_h, rain_mm, air_degc, evaporation_mm, discharge_mm_per_h,
        persisting_mm_per_h, ahead_1_mm, ahead_2_mm, ahead_3_mm,
        production_mm, exchange_mm_per_h, routing_mm, delay_h,
        melt_mm_per_degc_day, snow_correction, band_range_degc, evaporation_factor,
        previous_state
    ) OVER (PARTITION BY catchment_id ORDER BY as_of) AS soil
FROM driven
