-- name: blockers
SELECT blocker.pid, a.application_name, coalesce(round(extract(epoch FROM clock_timestamp() - a.xact_start))::text, '?')
FROM unnest(pg_blocking_pids(%(pid)s)) AS blocker (pid) LEFT JOIN pg_stat_activity a USING (pid)
