-- name: list_spaces
SELECT s.space_id, s.key, s.dimensions, s.role, s.ef_search, format_type(a.atttypid, NULL) AS vector_type,
    EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
            WHERE i.indrelid = c.oid AND i.indisvalid AND m.amname = 'hnsw') AS indexed,
    c.reltuples::bigint AS images
FROM seesame.spaces s
JOIN pg_class c ON c.oid = to_regclass('seesame.embeddings_' || s.space_id)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'image_embedding'
ORDER BY s.space_id

-- name: lock
SELECT pg_advisory_xact_lock(%(lock)s)

-- name: insert_space
INSERT INTO seesame.spaces (key, model, digest, dimensions, role)
VALUES (%(key)s, %(model)s, %(digest)s, %(dimensions)s, %(role)s) RETURNING space_id

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

-- name: set_role
UPDATE seesame.spaces SET role = %(role)s WHERE space_id = %(space_id)s

-- name: retire_others
UPDATE seesame.spaces SET role = 'retired' WHERE role IN ('primary', 'candidate') AND space_id <> %(space_id)s

-- name: retire_fallback
UPDATE seesame.spaces SET role = 'retired' WHERE role = 'fallback'

-- name: activate
UPDATE seesame.spaces SET role = 'primary', activated_at = %(now)s WHERE space_id = %(space_id)s

-- name: is_complete
SELECT NOT EXISTS (
    SELECT 1 FROM seesame.product_images i
    WHERE NOT EXISTS (SELECT FROM {embeddings} e WHERE e.product_id = i.product_id AND e.image_id = i.image_id)
      AND (i.product_id, i.image_id) NOT IN (
          SELECT w.product_id, w.image_id FROM seesame.image_work w
          WHERE w.space_id = %(space_id)s AND w.next_try_at = 'infinity')
    LIMIT 1
)

-- name: count_vectors
SELECT count(*) FROM {embeddings}
