-- meaning: the warning as it stands after each step: raised at once, held 6 h, renewed before a day has passed
SELECT r.*,
    hold_level(r.as_of, CAST(r.raised AS INT), CAST(r.kept AS INT), p.held_level, p.since, p.issued_at)
        OVER (PARTITION BY r.catchment_id ORDER BY r.as_of) AS held
FROM reached r
LEFT JOIN previous p ON p.catchment_id = r.catchment_id
