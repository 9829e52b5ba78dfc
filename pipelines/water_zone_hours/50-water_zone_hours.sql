-- product: water_zone_hours
-- meaning: clean net inflow of each zone and hour, and what its pipes and buildings took of it, told again for three days
-- kind: table
-- every: 1 day at 07:30 Europe/Oslo
-- reach: 6 days
-- keys: zone_id, part, hour_at
-- access: restricted
-- owner: water
--
-- `part` is 'zone' (inlets - outlets - what the tank took), 'pipes' (the same minus all building meters, only where there are
-- some) or the id of a building meter. `age_days` 0 is the newest day, 3 the last word on a day; `known` and `meters` say how
-- many meters stand behind a row, and with one missing there is no flow.
WITH expected AS (
    SELECT zone_id, 'zone' AS part, meter_id, CASE role WHEN 'inlet' THEN 1.0 ELSE -1.0 END AS sign
    FROM meters WHERE role IN ('inlet', 'outlet', 'level')
    UNION ALL
    SELECT zone_id, 'pipes' AS part, meter_id, CASE role WHEN 'inlet' THEN 1.0 ELSE -1.0 END AS sign
    FROM meters
    WHERE role IN ('inlet', 'outlet', 'level', 'submeter')
        AND zone_id IN (SELECT zone_id FROM meters WHERE role = 'submeter')
    UNION ALL
    SELECT zone_id, meter_id AS part, meter_id, 1.0 AS sign
    FROM meters WHERE role = 'submeter'
), counts AS (
    SELECT zone_id, part, count(*) AS meters FROM expected GROUP BY zone_id, part
), sums AS (
    SELECT
        h.as_of, e.zone_id, e.part, h.hour_s,
        sum(CAST(round(e.sign * h.flow_lps * 1e9) AS BIGINT)) / 1e9 AS flow_lps,
        count(h.flow_lps) AS known
    FROM meter_hours h
    JOIN expected e ON e.meter_id = h.meter_id
    GROUP BY h.as_of, e.zone_id, e.part, h.hour_s
), placed AS (
    SELECT
        hour_s, hour_at,
        CAST(date_part('hour', local_start) AS INT) AS local_hour,
        CAST(local_start - INTERVAL '6 hours' AS DATE) AS local_day
    FROM (
        SELECT hour_s, hour_at, (hour_at - INTERVAL '1 hour') AT TIME ZONE 'Europe/Oslo' AS local_start
        FROM (
            SELECT DISTINCT hour_s, arrow_cast(hour_s * 1000000, 'Timestamp(Microsecond, Some("UTC"))') AS hour_at
            FROM sums
        )
    )
), tick_days AS (
    SELECT as_of, CAST(as_of AT TIME ZONE 'Europe/Oslo' AS DATE) AS tick_day FROM ticks
), told AS (
    SELECT
        s.as_of, s.zone_id, s.part, p.hour_at, p.local_day, p.local_hour,
        -- In days of the calendar, which may have 23 or 25 hours.
        CAST((date_part('epoch', t.tick_day) - date_part('epoch', p.local_day)) / 86400 AS BIGINT) - 1 AS age_days,
        CASE WHEN s.known = c.meters THEN s.flow_lps END AS flow_lps,
        s.known, c.meters
    FROM sums s
    JOIN counts c ON c.zone_id = s.zone_id AND c.part = s.part
    JOIN placed p ON p.hour_s = s.hour_s
    JOIN tick_days t ON t.as_of = s.as_of
)
SELECT * FROM told WHERE age_days BETWEEN 0 AND 3
