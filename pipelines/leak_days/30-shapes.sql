-- meaning: each hour of a zone with the usual shape of its day: how far this local hour stands from the level of the week before
--
-- The shape is taken against the level of the seven days before, not as flow itself: so a leak that has run for weeks does not
-- become a part of it, and all types of day measure the same level. Last four weeks of working days; Saturdays and Sundays are
-- rarer, 20 of them take 20 weeks. The last three days are left out: their last word is not spoken yet.
WITH day_levels AS (
    SELECT zone_id, part, day_no, median(settled_lps) AS level_lps
    FROM hours WHERE part = 'zone'
    GROUP BY zone_id, part, day_no
), week_levels AS (
    SELECT
        zone_id, part, day_no,
        median(level_lps) OVER (
            PARTITION BY zone_id, part ORDER BY day_no RANGE BETWEEN 7 PRECEDING AND 1 PRECEDING
        ) AS week_lps
    FROM day_levels
), swings AS (
    SELECT h.*, h.settled_lps - w.week_lps AS swing_lps
    FROM hours h
    JOIN week_levels w ON w.zone_id = h.zone_id AND w.part = h.part AND w.day_no = h.day_no
)
SELECT
    *,
    median(swing_lps) OVER (
        PARTITION BY zone_id, part, local_hour ORDER BY day_no RANGE BETWEEN 31 PRECEDING AND 3 PRECEDING
    ) AS shape_lps
FROM swings WHERE day_type = 0
UNION ALL
SELECT
    *,
    median(swing_lps) OVER (
        PARTITION BY zone_id, part, day_type, local_hour ORDER BY day_no RANGE BETWEEN 140 PRECEDING AND 3 PRECEDING
    ) AS shape_lps
FROM swings WHERE day_type > 0
