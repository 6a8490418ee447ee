-- name: subjects
-- An image's id is a digest, so those that follow any place are drawn by lot, whatever the size of the catalogue.
SELECT i.product_id, i.image_id, i.sha256, i.bytes_ref, p.category
FROM seesame.product_images i JOIN seesame.products p USING (product_id)
JOIN {embeddings} e USING (product_id, image_id)
WHERE i.image_id BETWEEN %(first)s AND %(last)s ORDER BY i.image_id LIMIT %(count)s
