-- meaning: warnings as they were: times at a level or above, closer than 6 h being one
WITH levels AS (
    SELECT unnest(range(1, 4)) AS level
),
over AS (
    SELECT w.catchment_id, l.level, w.as_of,
        lag(w.as_of) OVER (PARTITION BY w.catchment_id, l.level ORDER BY w.as_of) AS earlier
    FROM flood_warnings w
    JOIN levels l ON w.held_level >= l.level
),
numbered AS (
    SELECT catchment_id, level, as_of,
        sum(CASE WHEN earlier IS NULL OR as_of - earlier > INTERVAL '6 hours' THEN 1 ELSE 0 END)
            OVER (PARTITION BY catchment_id, level ORDER BY as_of) AS warning
    FROM over
)
SELECT catchment_id, level, warning, min(as_of) AS issued_at, max(as_of) AS ended_at
FROM numbered
GROUP BY catchment_id, level, warning
