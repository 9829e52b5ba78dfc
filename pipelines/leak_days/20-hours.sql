-- meaning: each hour as it was when its day was judged, beside the last word on it, with the day's type
--
-- Types of day: 0 a working day, 1 a Saturday, 2 a Sunday or public holiday.
WITH dates AS (
    SELECT DISTINCT j.local_day, z.calendar
    FROM judged_days j
    JOIN zones z ON z.zone_id = j.zone_id
), types AS (
    SELECT
        local_day, calendar,
        CAST(date_part('epoch', CAST(local_day AS DATE)) / 86400 AS BIGINT) AS day_no,
        CASE
            WHEN public_holiday(CAST(local_day AS DATE), calendar) OR date_part('dow', CAST(local_day AS DATE)) = 0 THEN 2
            WHEN date_part('dow', CAST(local_day AS DATE)) = 6 THEN 1
            ELSE 0
        END AS day_type
    FROM dates
), together AS (
    SELECT
        zone_id, part, local_day, local_hour, hour_at,
        max(CASE WHEN age_days = judged_age THEN as_of END) AS as_of,
        max(CASE WHEN age_days = judged_age THEN age_days END) AS age_days,
        max(CASE WHEN age_days = judged_age THEN flow_lps END) AS flow_lps,
        max(CASE WHEN age_days = 3 THEN flow_lps END) AS settled_lps
    FROM judged_days
    GROUP BY zone_id, part, local_day, local_hour, hour_at
)
SELECT t.*, CAST(round(t.flow_lps * 1e9) AS BIGINT) AS nl_per_s, y.day_no, y.day_type
FROM together t
JOIN zones z ON z.zone_id = t.zone_id
JOIN types y ON y.local_day = t.local_day AND y.calendar = z.calendar
