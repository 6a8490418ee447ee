-- name: count_live
SELECT count(*) FROM seesame.jobs WHERE status IN ('queued', 'running')

-- name: count_by_status
SELECT status, count(*) FROM seesame.jobs GROUP BY status

-- name: insert
INSERT INTO seesame.jobs (job_id, mode, forced, filename, format, total)
SELECT %(job_id)s, %(mode)s, %(forced)s, %(filename)s, %(format)s, %(total)s
WHERE (SELECT count(*) FROM seesame.jobs WHERE status IN ('queued', 'running')) < %(most)s

-- name: get
SELECT job_id, mode, forced, filename, format, status, total, done, failed, counts, errors_total, message, attempts,
       created_at, started_at, ended_at
FROM seesame.jobs WHERE job_id = %(job_id)s

-- name: list
SELECT job_id, mode, forced, filename, format, status, total, done, failed, counts, errors_total, message, attempts,
       created_at, started_at, ended_at
FROM seesame.jobs ORDER BY created_at DESC, job_id LIMIT %(limit)s OFFSET %(offset)s

-- name: count
SELECT count(*) FROM seesame.jobs

-- name: errors
SELECT line, product_id, code, message FROM seesame.job_errors
WHERE job_id = %(job_id)s ORDER BY number LIMIT %(limit)s

-- name: ended
SELECT job_id, ended_at IS NOT NULL FROM seesame.jobs WHERE job_id = ANY(%(job_ids)s::uuid[])

-- name: one_at_a_time
SELECT pg_advisory_xact_lock(hashtext('seesame.jobs'))

-- name: expire
UPDATE seesame.jobs SET status = 'queued', leased_until = NULL, lease_token = NULL
WHERE status = 'running' AND leased_until < now()

-- name: claim
UPDATE seesame.jobs
SET status = 'running', attempts = attempts + 1, started_at = coalesce(started_at, now()),
    leased_until = now() + make_interval(secs => %(lease_s)s), lease_token = %(token)s
WHERE NOT EXISTS (SELECT FROM seesame.jobs WHERE status = 'running') AND job_id = (
    SELECT job_id FROM seesame.jobs WHERE status = 'queued' AND job_id = ANY(%(here)s::uuid[])
    ORDER BY created_at LIMIT 1)
RETURNING job_id

-- name: renew
UPDATE seesame.jobs SET leased_until = now() + make_interval(secs => %(lease_s)s)
WHERE job_id = %(job_id)s AND lease_token = %(token)s

-- name: advance
UPDATE seesame.jobs
SET done = %(done)s, failed = %(failed)s, counts = %(counts)s, errors_total = %(errors_total)s, attempts = 0,
    total = greatest(total, %(done)s)
WHERE job_id = %(job_id)s AND lease_token = %(token)s

-- name: add_errors
INSERT INTO seesame.job_errors (job_id, number, line, product_id, code, message)
SELECT %(job_id)s, number, line, product_id, code, message
FROM jsonb_to_recordset(%(errors)s) AS e (number integer, line integer, product_id text, code text, message text)

-- name: release
UPDATE seesame.jobs SET status = 'queued', attempts = 0, leased_until = NULL, lease_token = NULL
WHERE job_id = %(job_id)s AND lease_token = %(token)s

-- name: end
UPDATE seesame.jobs
SET status = %(status)s, message = %(message)s, ended_at = now(), leased_until = NULL, lease_token = NULL,
    total = CASE WHEN %(status)s = 'succeeded' THEN done ELSE total END
WHERE job_id = %(job_id)s AND lease_token = %(token)s

-- name: cancel
UPDATE seesame.jobs SET status = 'cancelled', ended_at = now(), leased_until = NULL, lease_token = NULL
WHERE job_id = %(job_id)s AND status IN ('queued', 'running')

-- name: give_up
UPDATE seesame.jobs SET status = 'failed', message = %(message)s, ended_at = now()
WHERE status = 'queued' AND created_at < now() - make_interval(days => %(days)s)

-- name: forget
DELETE FROM seesame.jobs WHERE ended_at < now() - make_interval(days => %(days)s)
