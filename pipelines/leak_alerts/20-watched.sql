-- meaning: the watch over each zone and part, day after day: cumulative sum, raised, a further step, cleared
SELECT
    *,
    leak_watch(day_no, rise_in_scales, level_lps, low_lps, level_base_lps, low_base_lps, threshold, state_before)
        OVER (PARTITION BY zone_id, part ORDER BY as_of, day_no ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS watch
FROM (
    SELECT r.*, p.state AS state_before
    FROM rises r
    LEFT JOIN previous p ON p.zone_id = r.zone_id AND p.part = r.part
    WHERE r.as_of IN (SELECT as_of FROM ticks)
)
