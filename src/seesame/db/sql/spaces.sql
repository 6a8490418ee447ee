-- name: list_spaces
SELECT s.space_id, s.key, s.dimensions, s.role, s.ef_search, format_type(a.atttypid, NULL) AS vector_type,
    EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
            WHERE i.indrelid = c.oid AND i.indisvalid AND m.amname = 'hnsw') AS indexed,
    c.reltuples::bigint AS images,
    s.model, s.source, s.precision, s.automatic, s.created_at, s.activated_at,
    s.calibration
FROM seesame.spaces s
JOIN pg_class c ON c.oid = to_regclass('seesame.embeddings_' || s.space_id)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'image_embedding'
ORDER BY s.space_id

-- name: lock
SELECT pg_advisory_xact_lock(%(lock)s)

-- name: insert_space
INSERT INTO seesame.spaces (key, model, digest, dimensions, role)
VALUES (%(key)s, %(model)s, %(digest)s, %(dimensions)s, %(role)s) RETURNING space_id

-- name: find
SELECT space_id, role FROM seesame.spaces WHERE key = %(key)s

-- name: create_embeddings
CREATE TABLE {embeddings} (
    product_id      text NOT NULL,
    image_id        uuid NOT NULL,
    sha256          bytea NOT NULL,
    image_embedding {vector_type} NOT NULL,
    PRIMARY KEY (product_id, image_id),
    FOREIGN KEY (product_id, image_id) REFERENCES seesame.product_images ON DELETE CASCADE
)

-- name: store_inline
ALTER TABLE {embeddings} ALTER COLUMN image_embedding SET STORAGE PLAIN

-- name: follow_writes
ALTER TABLE {embeddings} ADD COLUMN IF NOT EXISTS written_in xid8 NOT NULL DEFAULT pg_current_xact_id()

-- name: index_writes
CREATE INDEX IF NOT EXISTS {index} ON {embeddings} (written_in)

-- name: heal_restored
UPDATE {embeddings} SET written_in = pg_current_xact_id() WHERE written_in > pg_current_xact_id()

-- name: begin_anew
UPDATE seesame.spaces SET role = %(role)s, automatic = false, created_at = %(now)s, activated_at = NULL,
    ef_search = DEFAULT, recall = NULL, tuned_at = NULL, calibration = NULL
WHERE space_id = %(space_id)s

-- name: set_origin
UPDATE seesame.spaces SET source = %(source)s, precision = %(precision)s
WHERE space_id = %(space_id)s AND (source, precision) IS DISTINCT FROM (%(source)s, %(precision)s)

-- name: become_automatic
UPDATE seesame.spaces SET automatic = space_id = %(space_id)s
WHERE role = 'candidate' AND NOT EXISTS (SELECT FROM seesame.spaces WHERE role = 'primary' AND NOT automatic)

-- name: retire_other_fallback
UPDATE seesame.spaces SET role = 'retired' WHERE role = 'fallback' AND key <> %(key)s

-- name: end_automatic
UPDATE seesame.spaces SET automatic = false, role = CASE role WHEN 'primary' THEN 'candidate' ELSE role END
WHERE role IN ('primary', 'candidate')

-- name: activate
UPDATE seesame.spaces SET role = 'primary', automatic = %(automatic)s, activated_at = %(now)s
WHERE space_id = %(space_id)s

-- name: retire
UPDATE seesame.spaces SET role = 'retired', automatic = false
WHERE space_id = %(space_id)s AND role IN ('candidate', 'retired')

-- name: forget_work
DELETE FROM seesame.image_work WHERE space_id = %(space_id)s

-- name: forget_samples
DELETE FROM seesame.query_samples WHERE space_id = %(space_id)s

-- name: lock_images
LOCK TABLE seesame.product_images IN ACCESS EXCLUSIVE MODE

-- name: drop_embeddings
DROP TABLE IF EXISTS {embeddings}, {next}

-- name: hold_vectors
LOCK TABLE {embeddings} IN SHARE MODE

-- name: count_lacking
SELECT count(*) FROM (
    SELECT 1 FROM {listing} i
    WHERE NOT EXISTS (SELECT FROM {embeddings} e WHERE e.product_id = i.product_id AND e.image_id = i.image_id)
      AND (i.product_id, i.image_id) {in} (
          SELECT w.product_id, w.image_id FROM seesame.image_work w
          WHERE w.space_id = %(space_id)s AND w.next_try_at = 'infinity')
    LIMIT %(at_most)s
) AS lacking

-- name: count_vectors
SELECT count(*) FROM {embeddings}

-- name: table_bytes
SELECT pg_total_relation_size(to_regclass(%(table)s))

-- name: store_calibration
UPDATE seesame.spaces SET calibration = %(calibration)s
WHERE space_id = %(space_id)s AND created_at = %(created_at)s
