-- product: meter_faults
-- meaning: water meters that are silent, stuck, exchanged or ahead of time: alerts of their own, never leaks
-- kind: alert
-- every: 1 hour
-- reach: 3 days
-- keys: meter_id
-- access: restricted
-- owner: water
--
-- Silent: no reading for 6 h; a building meter, which delivers once a day, for 30 h. Stuck: the same value for 6 h; a building
-- may use nothing for a day, and a pump may rest at zero, so those wait for 36 h. Clock ahead: a reading from more than a
-- quarter of an hour in the future. A register that falls is told for a day, so that somebody enters the exchange.
WITH limits AS (
    SELECT
        *,
        CASE WHEN role = 'submeter' THEN INTERVAL '30 hours' ELSE INTERVAL '6 hours' END AS silent_after,
        CASE WHEN role IN ('submeter', 'outlet') THEN INTERVAL '36 hours' ELSE INTERVAL '6 hours' END AS stuck_after
    FROM signs
), classes AS (
    SELECT
        *,
        CASE
            WHEN newest_at IS NULL OR as_of - newest_at > silent_after THEN 'silent'
            WHEN newest_at - changed_at >= stuck_after THEN 'stuck'
            WHEN fell_at > as_of - INTERVAL '24 hours' THEN 'register fell'
            WHEN in_future THEN 'clock ahead'
        END AS class
    FROM limits
)
SELECT
    as_of, meter_id, zone_id,
    CASE WHEN class IS NULL THEN 0 WHEN role = 'pressure' OR class IN ('register fell', 'clock ahead') THEN 1 ELSE 2 END AS level,
    class,
    CASE class
        WHEN 'silent' THEN newest_at
        WHEN 'stuck' THEN changed_at
        WHEN 'register fell' THEN fell_at
        WHEN 'clock ahead' THEN as_of
    END AS started_at,
    class IS NULL AS cleared,
    newest_at, changed_at
FROM classes
