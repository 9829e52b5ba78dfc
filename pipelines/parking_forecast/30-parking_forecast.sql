-- product: parking_forecast
-- meaning: Free spaces an hour ahead for each car park, from how the hour usually goes on such a day and from planned events.
-- kind: table
-- every: 15 minutes
-- reach: 30 days
-- keys: lot
-- access: public
-- owner: parking
SELECT f.as_of, f.lot, f.as_of + INTERVAL '1 hour' AS valid_at,
       -- Nothing is told from fewer than three such days.
       CASE WHEN u.days >= 3 THEN CAST(round(least(greatest(
           l.capacity - f.occupied_estimate - u.change - coalesce(p.vehicles, 0.0), 0.0), l.capacity)) AS BIGINT) END AS free,
       CASE WHEN u.days >= 3 THEN CAST(floor(least(greatest(
           f.free_low - u.change_high - coalesce(p.vehicles, 0.0), 0.0), l.capacity)) AS BIGINT) END AS free_low,
       CASE WHEN u.days >= 3 THEN CAST(ceil(least(greatest(
           f.free_high - u.change_low - coalesce(p.vehicles, 0.0), 0.0), l.capacity)) AS BIGINT) END AS free_high,
       f.free AS free_now, u.change AS usual_change, p.vehicles AS planned_change, coalesce(u.days, 0) AS days,
       CASE WHEN f.state = 'UNKNOWN' THEN 'blind' WHEN coalesce(u.days, 0) < 3 THEN 'too few days' ELSE 'usual day' END AS reason
FROM ticks t
JOIN parking_free f ON f.as_of = t.as_of
JOIN parking_lots l ON l.lot = f.lot
LEFT JOIN usual u ON u.lot = f.lot AND u.as_of = f.as_of
LEFT JOIN planned p ON p.lot = f.lot AND p.as_of = f.as_of
