-- product: leakage_level
-- meaning: what each zone loses day by day, from minimum night flow, against what is unavoidable
-- kind: table
-- every: 1 day at 07:30 Europe/Oslo
-- reach: 40 days
-- keys: zone_id
-- access: internal
-- owner: water
--
-- Night flow: the 20th percentile of seven days' lowest night hours (UKWIR 1999, Manual of DMA Practice), less the legitimate
-- night use of households, 1.7 l per property and hour (UK Water Industry 1994, Managing Leakage, Report E). The day's leakage
-- is night leakage times the hour-day factor; with pressure constant that is 24 h (FAVAD, May 1994: leakage ~ pressure^N1, and
-- with no pressure profile N1 has nothing to correct). UARL after Lambert et al. 1999, AQUA 48(6):
-- (18 Lm + 0.8 Nc + 25 Lp) x P l/day, Lm km of mains, Nc connections, Lp km of private pipes, P m of head.
WITH nights AS (
    SELECT
        t.as_of, d.zone_id,
        percentile_cont(d.night_lps, 0.2) AS night_flow_lps,
        count(d.night_lps) AS nights_known,
        avg(d.mean_lps) AS inflow_lps
    FROM ticks t
    JOIN leak_days d
        ON d.as_of <= t.as_of
        AND CAST(d.local_day AS DATE) > CAST(t.as_of AS DATE) - INTERVAL '8 days'
    WHERE d.part = 'zone'
    GROUP BY t.as_of, d.zone_id
), losses AS (
    SELECT
        n.*,
        greatest(n.night_flow_lps - 1.7 * z.properties / 3600.0, 0.0) AS leakage_lps,
        (18.0 * z.mains_km + 0.8 * z.connections + 25.0 * z.private_pipes_km) * z.pressure_m / 86400.0 AS unavoidable_lps
    FROM nights n
    JOIN zones z ON z.zone_id = n.zone_id
)
SELECT
    as_of, zone_id, nights_known, inflow_lps, night_flow_lps, leakage_lps, unavoidable_lps,
    leakage_lps / nullif(inflow_lps, 0.0) AS leakage_share,
    leakage_lps / nullif(unavoidable_lps, 0.0) AS leakage_index
FROM losses
WHERE nights_known >= 4
