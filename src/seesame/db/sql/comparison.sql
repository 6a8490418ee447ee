-- name: sample
WITH pictured AS (
    SELECT DISTINCT ON (i.product_id) i.product_id, i.image_id, p.title, p.category
    FROM seesame.product_images i JOIN seesame.products p USING (product_id)
    JOIN {old} USING (product_id, image_id) JOIN {new} USING (product_id, image_id)
    ORDER BY i.product_id, i.position, i.image_id
), drawn AS (
    SELECT *, md5(%(seed)s || ' ' || product_id) AS lot FROM pictured
), placed AS (
    -- From 0 to 1 through each category: the first so many of all have each category by its share.
    SELECT *, (row_number() OVER (PARTITION BY category ORDER BY lot) - 0.5)
              / count(*) OVER (PARTITION BY category) AS place
    FROM drawn
)
SELECT product_id, image_id, title, category FROM placed
ORDER BY CASE WHEN %(by_category)s THEN place END, lot LIMIT %(count)s
