-- meaning: what was known at each tick of the last days, meter by meter
--
-- A zone's day runs from 06:00 to 06:00 local time, so that a night stays whole. Each tick tells the last four days anew (a dead
-- link delivers within 72 h), and reads one day more, for the register before the first hour and for a meter's usual range.
WITH reaches AS (
    SELECT
        as_of,
        CAST(date_part('epoch', (date_trunc('day', as_of AT TIME ZONE 'Europe/Oslo') + INTERVAL '6 hours')
            AT TIME ZONE 'Europe/Oslo') AS BIGINT) AS day_end_s
    FROM ticks
)
SELECT
    e.as_of, e.day_end_s, r.meter_id, r.zone_id, r.role, r.quantity, r.interval_s, r.register_max_m3, r.area_m2, r.slot_s, r.value
FROM reaches e
JOIN readings r
    ON r.slot_s > e.day_end_s - 5 * 86400
    AND r.slot_s <= e.day_end_s
    AND r.received_at <= e.as_of
    AND (r.replaced_at IS NULL OR r.replaced_at > e.as_of)
