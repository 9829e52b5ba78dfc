-- meaning: mean flow of each meter and hour, in l/s; null where the meter cannot be believed
--
-- Gaps of up to six hours are filled with their mean, longer ones stay open. Not believed: flow below zero, more than 3.5 times
-- the meter's own 95th percentile of the last days, nothing at all from a meter that never rests, and the same flow four hours
-- running (measured on development sets, see README.md).
WITH slots AS (
    SELECT
        as_of, day_end_s, meter_id, zone_id, role, quantity, interval_s, flow_lps,
        slot_s - interval_s * unnest(range(0, slots)) AS slot_s
    FROM intervals
    WHERE flow_lps IS NOT NULL AND slots * interval_s <= 6 * 3600 + interval_s
), hours AS (
    SELECT
        as_of, day_end_s, meter_id, zone_id, role, quantity,
        ((slot_s + 3599) / 3600) * 3600 AS hour_s,
        -- Summed as whole nanolitres: they add up to the same in any order of rows, fractions would not.
        sum(CAST(round(flow_lps * 1e9) AS BIGINT)) / (1e9 * count(*)) AS flow_lps
    FROM slots
    GROUP BY as_of, day_end_s, meter_id, zone_id, role, quantity, ((slot_s + 3599) / 3600) * 3600, interval_s
    HAVING count(*) * interval_s >= 2700
), usual AS (
    SELECT
        as_of, meter_id,
        percentile_cont(flow_lps, 0.95) AS high_lps,
        percentile_cont(flow_lps, 0.1) AS low_lps
    FROM hours
    GROUP BY as_of, meter_id
), runs AS (
    SELECT
        h.*, u.high_lps, u.low_lps,
        min(flow_lps) OVER before AS min_before, max(flow_lps) OVER before AS max_before, count(*) OVER before AS n_before,
        min(flow_lps) OVER after AS min_after, max(flow_lps) OVER after AS max_after, count(*) OVER after AS n_after,
        min(flow_lps) OVER around AS min_around, max(flow_lps) OVER around AS max_around, count(*) OVER around AS n_around,
        min(flow_lps) OVER about AS min_about, max(flow_lps) OVER about AS max_about, count(*) OVER about AS n_about
    FROM hours h
    JOIN usual u ON u.as_of = h.as_of AND u.meter_id = h.meter_id
    WINDOW
        before AS (PARTITION BY h.as_of, h.meter_id ORDER BY hour_s ROWS BETWEEN 3 PRECEDING AND CURRENT ROW),
        around AS (PARTITION BY h.as_of, h.meter_id ORDER BY hour_s ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING),
        about AS (PARTITION BY h.as_of, h.meter_id ORDER BY hour_s ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING),
        after AS (PARTITION BY h.as_of, h.meter_id ORDER BY hour_s ROWS BETWEEN CURRENT ROW AND 3 FOLLOWING)
)
SELECT
    as_of, day_end_s, meter_id, zone_id, role, hour_s,
    CASE
        WHEN role = 'level' THEN flow_lps
        WHEN flow_lps < 0 OR flow_lps > 3.5 * high_lps THEN NULL
        WHEN role = 'submeter' THEN flow_lps
        WHEN flow_lps = 0 AND low_lps > 0 THEN NULL
        WHEN quantity = 'flow' AND flow_lps > 0 AND (
            (n_before = 4 AND min_before = max_before) OR (n_around = 4 AND min_around = max_around)
            OR (n_about = 4 AND min_about = max_about) OR (n_after = 4 AND min_after = max_after)) THEN NULL
        ELSE flow_lps
    END AS flow_lps
FROM runs
WHERE hour_s > day_end_s - 4 * 86400 - 3600
