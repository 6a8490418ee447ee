-- name: read
WITH here AS (SELECT pg_current_snapshot()::text AS snapshot, to_regclass(%(table)s)::oid AS relation)
SELECT here.snapshot, here.relation, e.product_id, e.image_id, array_send(e.image_embedding) AS vector
FROM here LEFT JOIN {embeddings} e ON {new}

-- name: new
e.written_in >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)
AND NOT pg_visible_in_snapshot(e.written_in, %(snapshot)s::pg_snapshot)

-- name: matching
SELECT f.product_id FROM seesame.products f WHERE {condition}

-- name: shown
SELECT p.product_id, p.title, p.description, p.category, p.brand, p.price, p.currency, p.url, p.attributes,
    i.image_id, i.position, i.source, i.sha256, i.width, i.height, i.format, i.bytes_ref, n.similarity
FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[], %(similarities)s::float8[])
    AS n (product_id, image_id, similarity)
JOIN seesame.products p USING (product_id) JOIN seesame.product_images i USING (product_id, image_id)
ORDER BY n.similarity DESC, p.product_id
