-- name: enqueue
INSERT INTO seesame.image_work (product_id, image_id, space_id)
SELECT n.product_id, n.image_id, s.space_id
FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[]) AS n (product_id, image_id), seesame.spaces s
WHERE s.role <> 'retired'
ON CONFLICT DO NOTHING

-- name: notify
SELECT pg_notify('seesame_work', '')

-- name: oldest
SELECT product_id, image_id FROM seesame.image_work WHERE space_id = %(space_id)s
ORDER BY next_try_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: forget
DELETE FROM seesame.image_work
WHERE space_id = %(space_id)s
  AND (product_id, image_id) IN (SELECT * FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[]))

-- name: reconcile
-- The time is a parameter, since Citus would leave the column's default to the clocks of the workers.
INSERT INTO seesame.image_work (product_id, image_id, space_id, next_try_at)
SELECT i.product_id, i.image_id, %(space_id)s, %(now)s
FROM seesame.product_images i
WHERE NOT EXISTS (SELECT FROM {embeddings} e WHERE e.product_id = i.product_id AND e.image_id = i.image_id)
ON CONFLICT DO NOTHING

-- name: claim
WITH due AS (
    -- In the order of the index and no finer: sorting a long queue would cost more than embedding the batch.
    SELECT w.product_id, w.image_id, w.space_id FROM seesame.image_work w
    WHERE w.space_id = %(space_id)s AND w.next_try_at <= now() AND (w.leased_until IS NULL OR w.leased_until < now())
    ORDER BY w.next_try_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
-- First in the order from now on: if the lease ends unfinished, it is claimed again before all that waits.
UPDATE seesame.image_work w
SET leased_until = now() + make_interval(secs => %(lease_s)s), lease_token = %(token)s, next_try_at = '-infinity'
FROM due WHERE (w.product_id, w.image_id, w.space_id) = (due.product_id, due.image_id, due.space_id)
RETURNING w.product_id, w.image_id

-- name: locate
SELECT product_id, image_id, bytes_ref FROM seesame.product_images
WHERE (product_id, image_id) IN (SELECT * FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[]))

-- name: take
WITH held AS (
    -- Locked in the order in which deleting images locks them.
    SELECT w.product_id, w.image_id, w.space_id FROM seesame.image_work w
    WHERE (w.product_id, w.image_id) IN (SELECT * FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[]))
      AND w.space_id = %(space_id)s AND w.lease_token = %(token)s
    ORDER BY w.product_id, w.image_id FOR UPDATE
)
DELETE FROM seesame.image_work w USING held h
WHERE (w.product_id, w.image_id, w.space_id) = (h.product_id, h.image_id, h.space_id)
RETURNING w.product_id, w.image_id

-- name: write
INSERT INTO {embeddings} (product_id, image_id, sha256, image_embedding)
SELECT product_id, image_id, i.sha256, v.vector::{vector_type}
FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[], %(vectors)s::text[]) AS v (product_id, image_id, vector)
JOIN seesame.product_images i USING (product_id, image_id)
ON CONFLICT DO NOTHING  -- the same picture has the same vector

-- name: fail
UPDATE seesame.image_work SET
    attempts = attempts + 1, error_code = %(code)s, leased_until = NULL, lease_token = NULL,
    next_try_at = CASE WHEN attempts + 1 >= %(max_attempts)s THEN 'infinity'
                       ELSE now() + make_interval(secs => %(retry_s)s * (attempts + 1)) END
WHERE space_id = %(space_id)s AND lease_token = %(token)s AND product_id = %(product_id)s AND image_id = %(image_id)s

-- name: release
UPDATE seesame.image_work SET leased_until = NULL, lease_token = NULL
WHERE space_id = %(space_id)s AND lease_token = %(token)s

-- name: retry_failed
UPDATE seesame.image_work SET attempts = 0, error_code = NULL, next_try_at = now()
WHERE error_code IS NOT NULL AND (%(product_id)s::text IS NULL OR product_id = %(product_id)s)

-- name: count_pending
SELECT count(*) FROM seesame.image_work WHERE space_id = %(space_id)s AND next_try_at < 'infinity'

-- name: any_leased
SELECT EXISTS (SELECT FROM seesame.image_work WHERE space_id = %(space_id)s AND leased_until IS NOT NULL)

-- name: list_failed
SELECT w.product_id, w.image_id, s.key AS space, w.error_code, w.attempts, w.next_try_at = 'infinity' AS given_up,
       CASE WHEN isfinite(w.next_try_at) THEN w.next_try_at END AS next_try_at
FROM seesame.image_work w JOIN seesame.spaces s USING (space_id)
WHERE w.error_code IS NOT NULL
ORDER BY w.product_id, w.image_id, w.space_id LIMIT %(limit)s OFFSET %(offset)s

-- name: count_failed
SELECT count(*) FROM seesame.image_work w JOIN seesame.spaces s USING (space_id) WHERE w.error_code IS NOT NULL
