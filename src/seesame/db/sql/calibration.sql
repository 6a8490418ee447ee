-- name: some_images
-- An image's id is a digest, so those that follow any place are drawn by lot, whatever the size of the catalogue.
SELECT i.product_id, i.image_id, i.sha256, i.bytes_ref, e.image_embedding::real[]
FROM seesame.product_images i JOIN {embeddings} e USING (product_id, image_id)
WHERE i.image_id BETWEEN %(first)s AND %(last)s ORDER BY i.image_id LIMIT %(count)s

-- name: other_images
SELECT DISTINCT ON (e.product_id) e.product_id, e.sha256, e.image_embedding::real[]
FROM {embeddings} e
WHERE e.product_id = ANY(%(product_ids)s::text[]) AND e.image_id <> ALL(%(image_ids)s::uuid[])
ORDER BY e.product_id, e.image_id

-- name: queries
SELECT i.product_id, i.image_id, i.bytes_ref, p.category, EXISTS (
    SELECT 1 FROM {embeddings} o WHERE o.product_id = i.product_id AND o.image_id <> i.image_id) AS has_others
FROM seesame.product_images i JOIN seesame.products p USING (product_id)
JOIN {embeddings} e USING (product_id, image_id)
WHERE i.image_id BETWEEN %(first)s AND %(last)s ORDER BY i.image_id LIMIT %(count)s

-- name: store
UPDATE seesame.spaces SET calibration = %(calibration)s
WHERE space_id = %(space_id)s AND created_at = %(created_at)s
