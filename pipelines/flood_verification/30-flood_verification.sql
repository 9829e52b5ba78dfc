-- product: flood_verification
-- meaning: How past flood warnings did: hits, misses, false alarms and lead time of each catchment and level, up to each month
-- kind: table
-- every: 1 day at 05:00 Europe/Oslo
-- reach: 3700 days
-- keys: catchment_id, level
-- access: public
-- owner: water
--
-- A hit was in force at the onset and issued an hour before it. A warning during which the threshold was never passed is a false
-- alarm, however long. Answers on the first of each month, about floods and warnings that ended before.
WITH months AS (
    SELECT as_of FROM ticks WHERE date_part('day', as_of) = 1
),
events AS (
    SELECT m.as_of, x.catchment_id, x.level, x.onset_at, min(w.issued_at) AS issued_at
    FROM months m
    JOIN exceedances x ON x.end_at < m.as_of - INTERVAL '2 days'
    LEFT JOIN warned w ON w.catchment_id = x.catchment_id AND w.level = x.level
        AND w.issued_at <= x.onset_at - INTERVAL '1 hour' AND w.ended_at >= x.onset_at
    GROUP BY m.as_of, x.catchment_id, x.level, x.onset_at
),
event_counts AS (
    SELECT as_of, catchment_id, level, count(*) AS floods, count(issued_at) AS hits,
        median(CASE WHEN issued_at IS NOT NULL
            THEN least((date_part('epoch', onset_at) - date_part('epoch', issued_at)) / 3600, 48) END) AS lead_median_h
    FROM events
    GROUP BY as_of, catchment_id, level
),
verified AS (
    SELECT m.as_of, w.catchment_id, w.level, w.issued_at, w.ended_at, count(x.onset_at) AS floods
    FROM months m
    JOIN warned w ON w.ended_at < m.as_of - INTERVAL '2 days'
    LEFT JOIN exceedances x ON x.catchment_id = w.catchment_id AND x.level = w.level
        AND x.onset_at <= w.ended_at AND x.end_at >= w.issued_at
    GROUP BY m.as_of, w.catchment_id, w.level, w.issued_at, w.ended_at
),
warning_counts AS (
    SELECT as_of, catchment_id, level, count(*) AS warnings, sum(CASE WHEN floods = 0 THEN 1 ELSE 0 END) AS false_alarms
    FROM verified
    GROUP BY as_of, catchment_id, level
)
SELECT coalesce(e.as_of, w.as_of) AS as_of, coalesce(e.catchment_id, w.catchment_id) AS catchment_id,
    coalesce(e.level, w.level) AS level,
    coalesce(e.floods, 0) AS floods, coalesce(e.hits, 0) AS hits, coalesce(w.warnings, 0) AS warnings,
    coalesce(w.false_alarms, 0) AS false_alarms,
    CAST(e.hits AS DOUBLE) / nullif(e.floods, 0) AS detected_share,
    CAST(w.false_alarms AS DOUBLE) / nullif(w.warnings, 0) AS false_share,
    CAST(coalesce(e.hits, 0) AS DOUBLE) / nullif(coalesce(e.floods, 0) + coalesce(w.false_alarms, 0), 0) AS success_index,
    e.lead_median_h
FROM event_counts e
FULL JOIN warning_counts w ON w.as_of = e.as_of AND w.catchment_id = e.catchment_id AND w.level = e.level
