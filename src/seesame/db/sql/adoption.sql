-- name: create
CREATE TEMPORARY TABLE seesame_adopted (
    product_id text NOT NULL, image_id uuid NOT NULL, sha256 bytea NOT NULL, image_embedding {vector_type} NOT NULL
) ON COMMIT DROP

-- name: store_as_it_is
ALTER TABLE seesame_adopted ALTER COLUMN image_embedding SET STORAGE EXTERNAL

-- name: load
COPY seesame_adopted FROM STDIN WITH (FORMAT BINARY)

-- name: analyze
ANALYZE seesame_adopted (product_id, image_id)

-- name: first_images
SELECT DISTINCT ON (i.product_id) i.product_id, i.image_id, i.sha256
FROM seesame.product_images i WHERE i.product_id = ANY(%(product_ids)s)
ORDER BY i.product_id, i.position, i.image_id

-- name: named_images
SELECT i.product_id, i.image_id, i.sha256
FROM seesame.product_images i
JOIN unnest(%(product_ids)s::text[], %(image_ids)s::uuid[]) AS n (product_id, image_id) USING (product_id, image_id)

-- name: twice
SELECT product_id, count(*) FROM seesame_adopted GROUP BY product_id, image_id HAVING count(*) > 1 ORDER BY product_id

-- name: sample
-- An image's id is made of a digest, so the first ones are any.
SELECT image_id, image_embedding::real[] FROM seesame_adopted ORDER BY image_id LIMIT %(limit)s

-- name: await_conversion
SELECT pg_advisory_xact_lock_shared(%(lock)s, %(space_id)s)

-- name: end_work
WITH held AS (
    SELECT w.product_id, w.image_id FROM seesame.image_work w JOIN seesame_adopted a USING (product_id, image_id)
    WHERE w.space_id = %(space_id)s AND (w.leased_until IS NULL OR w.leased_until < now())
    ORDER BY w.product_id, w.image_id FOR UPDATE OF w SKIP LOCKED
)
DELETE FROM seesame.image_work w USING held h
WHERE w.product_id = h.product_id AND w.image_id = h.image_id AND w.space_id = %(space_id)s

-- name: leave_to_workers
DELETE FROM seesame_adopted a USING seesame.image_work w
WHERE w.product_id = a.product_id AND w.image_id = a.image_id AND w.space_id = %(space_id)s

-- name: remove_old
DELETE FROM {embeddings} WHERE (product_id, image_id) IN (SELECT product_id, image_id FROM seesame_adopted)

-- name: insert
INSERT INTO {embeddings} (product_id, image_id, sha256, image_embedding)
SELECT product_id, image_id, sha256, image_embedding::{vector_type} FROM seesame_adopted
WHERE (product_id, image_id) IN (SELECT product_id, image_id FROM seesame.product_images)
ON CONFLICT DO NOTHING
