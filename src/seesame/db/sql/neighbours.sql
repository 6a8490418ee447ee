-- name: nearest
SELECT e.product_id, e.image_id, e.image_embedding <=> %(vector)s::halfvec AS distance
FROM {embeddings} e WHERE e.product_id IS DISTINCT FROM %(product_id)s::text AND e.sha256 <> %(sha256)s
ORDER BY distance LIMIT %(limit)s

-- name: vectors
SELECT product_id, image_id, sha256, array_send(image_embedding) FROM {embeddings}
