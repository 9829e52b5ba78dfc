-- meaning: flow of each interval between two readings of a meter, in l/s, with the number of slots it spans
--
-- A register gives growth over the interval; it may pass its end (growth + register_max) or begin anew (an exchanged meter: no
-- volume). A zone's inlet never stands still, so an unchanged inlet register is a reading that is missing; water that came
-- meanwhile is spread over the gap. A tank's level gives the change of the stored volume.
WITH moving AS (
    SELECT *
    FROM (
        SELECT
            *,
            lag(value) OVER (PARTITION BY as_of, meter_id ORDER BY slot_s) AS shown_before
        FROM known
    )
    WHERE NOT (quantity = 'register' AND role <> 'submeter' AND value IS NOT DISTINCT FROM shown_before)
), steps AS (
    SELECT
        *,
        value - lag(value) OVER (PARTITION BY as_of, meter_id ORDER BY slot_s) AS growth,
        lag(value) OVER (PARTITION BY as_of, meter_id ORDER BY slot_s) AS from_value,
        slot_s - lag(slot_s) OVER (PARTITION BY as_of, meter_id ORDER BY slot_s) AS lasted_s
    FROM moving
), volumes AS (
    SELECT
        *,
        -- From the last tenth of the range down to the first half of it: the register passed its end.
        CASE
            WHEN growth >= 0 THEN growth
            WHEN from_value >= 0.9 * register_max_m3 AND growth + register_max_m3 <= 0.5 * register_max_m3
                THEN growth + register_max_m3
        END AS volume_m3
    FROM steps
)
SELECT
    as_of, day_end_s, meter_id, zone_id, role, quantity, interval_s, slot_s,
    CASE WHEN quantity = 'flow' THEN 1 ELSE lasted_s / interval_s END AS slots,
    CASE quantity
        WHEN 'flow' THEN value
        WHEN 'level' THEN 1000.0 * area_m2 * growth / lasted_s
        ELSE 1000.0 * volume_m3 / lasted_s
    END AS flow_lps
FROM volumes
