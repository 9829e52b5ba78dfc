-- meaning: the ticks each catchment answers: those at the end of its step (1 h, or 3 h where the source is that coarse)
SELECT c.*, t.as_of
FROM ticks t
CROSS JOIN catchments c
WHERE CAST(date_part('epoch', t.as_of) AS BIGINT) % c.step_s = 0
