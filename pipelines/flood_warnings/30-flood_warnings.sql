-- product: flood_warnings
-- meaning: Flood warnings from what has been measured, without any rain forecast
-- kind: alert
-- every: 1 hour
-- reach: 3 days
-- keys: catchment_id
-- carries: held_level int, since time, issued_at time
-- access: public
-- owner: water
--
-- level is null when there is no basis; the warning that stood then stands (held_level). A row with issued_at = as_of is a change
-- or a renewal: what is sent out.
SELECT as_of, catchment_id,
    CASE WHEN raised IS NULL THEN NULL ELSE get_field(held, 'level') END AS level,
    CASE get_field(held, 'level') WHEN 3 THEN 'red' WHEN 2 THEN 'orange' WHEN 1 THEN 'yellow' ELSE 'green' END AS class,
    get_field(held, 'level') AS held_level,
    get_field(held, 'since') AS since,
    get_field(held, 'since') AS started_at,
    get_field(held, 'issued_at') AS issued_at,
    as_of AS valid_from,
    arrow_cast(
        to_timestamp_seconds(CAST(date_part('epoch', as_of) AS BIGINT) + crest_ahead_h * 3600),
        'Timestamp(Microsecond, Some("UTC"))'
    ) AS expected_peak_at,
    raised IS NOT NULL AND get_field(held, 'level') = 0 AS cleared,
    basis, discharge_m3_per_s, expected_m3_per_s, expected_m3_per_s / yellow_m3_per_s AS share_of_yellow,
    discharge_at, rain_at, parameters_from
FROM held
