-- name: is_installed
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')

-- name: cluster
SELECT citus_is_coordinator(), (
    SELECT count(*) FROM pg_dist_node WHERE noderole = 'primary' AND isactive AND shouldhaveshards AND groupid <> 0)

-- name: list_tables
SELECT t.name, p.logicalrelid IS NOT NULL, (SELECT count(*) FROM pg_dist_shard s WHERE s.logicalrelid = p.logicalrelid)
FROM (
    SELECT 'products' AS name, -3 AS place
    UNION ALL SELECT 'product_images', -2
    UNION ALL VALUES ('fingerprints', -1), ('duplicates', 0)
    UNION ALL SELECT 'embeddings_' || space_id, space_id FROM seesame.spaces
    WHERE to_regclass('seesame.embeddings_' || space_id) IS NOT NULL  -- else it was retired
) AS t LEFT JOIN pg_dist_partition p ON p.logicalrelid = to_regclass('seesame.' || t.name)
ORDER BY t.place

-- name: without_pgvector
SELECT attrelid::regclass::text FROM pg_attribute
WHERE attrelid IN (SELECT to_regclass('seesame.embeddings_' || space_id) FROM seesame.spaces)
  AND attname = 'image_embedding' AND atttypid = 'real[]'::regtype

-- name: no_new_spaces
LOCK TABLE seesame.spaces IN SHARE ROW EXCLUSIVE MODE

-- name: drop_index
DROP INDEX {index}

-- name: distribute
SELECT create_distributed_table(%(table)s, 'product_id', colocate_with => 'none', shard_count => %(shards)s)

-- name: colocate
SELECT create_distributed_table(%(table)s, 'product_id', colocate_with => 'seesame.products')

-- name: free_coordinator
SELECT truncate_local_data_after_distributing_table(%(table)s)

-- name: analyze
ANALYZE {table}
