-- name: list_indexes
SELECT i.indexrelid::regclass::text AS name, i.indisvalid AS valid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
WHERE i.indrelid = to_regclass(%(table)s) AND a.amname = 'hnsw'

-- name: create
CREATE INDEX {concurrently} ON {embeddings} USING hnsw (image_embedding halfvec_cosine_ops)
WITH (m = 16, ef_construction = 64)

-- name: drop
DROP INDEX CONCURRENTLY {index}

-- name: analyze
VACUUM (ANALYZE) {embeddings}

-- name: lock
SELECT pg_try_advisory_lock(%(lock)s, %(space_id)s)

-- name: memory
SELECT set_config('maintenance_work_mem', greatest(
    pg_size_bytes(current_setting('maintenance_work_mem')),
    least(%(needed)s::bigint, pg_size_bytes(current_setting('effective_cache_size')) / 4)
) / 1024 || 'kB', %(for_transaction)s)

-- name: progress
SELECT phase, tuples_done, tuples_total FROM pg_stat_progress_create_index WHERE relid = to_regclass(%(table)s)
