-- name: upsert_products
INSERT INTO seesame.products AS p
    (product_id, title, description, category, brand, price, currency, url, attributes, created_at, updated_at)
SELECT product_id, title, description, category, brand, price, currency, url, attributes, %(now)s, %(now)s
FROM jsonb_to_recordset(%(rows)s) AS r (
    product_id text, title text, description text, category text, brand text, price numeric, currency text, url text,
    attributes jsonb)
ORDER BY product_id  -- the same order everywhere, so that two imports at once do not deadlock
ON CONFLICT (product_id) DO UPDATE SET
    title = excluded.title, description = excluded.description, category = excluded.category, brand = excluded.brand,
    price = excluded.price, currency = excluded.currency, url = excluded.url, attributes = excluded.attributes,
    updated_at = excluded.updated_at
WHERE (p.title, p.description, p.category, p.brand, p.price, p.currency, p.url, p.attributes) IS DISTINCT FROM
    (excluded.title, excluded.description, excluded.category, excluded.brand, excluded.price, excluded.currency,
     excluded.url, excluded.attributes)
RETURNING product_id, xmax = 0 AS created

-- name: get_products
SELECT product_id, title, description, category, brand, price, currency, url, attributes
FROM seesame.products WHERE product_id = ANY(%(product_ids)s)

-- name: list_products
SELECT f.product_id, f.title, f.description, f.category, f.brand, f.price, f.currency, f.url, f.attributes
FROM seesame.products f WHERE {condition}
ORDER BY f.created_at DESC, f.product_id LIMIT %(limit)s OFFSET %(offset)s

-- name: count_products
SELECT count(*) FROM seesame.products f WHERE {condition}

-- name: lock_product
SELECT product_id FROM seesame.products WHERE product_id = %(product_id)s FOR UPDATE

-- name: delete_products
DELETE FROM seesame.products WHERE product_id = ANY(%(product_ids)s)

-- name: product_ids
SELECT product_id FROM seesame.products WHERE product_id > %(after)s AND created_at < %(before)s
ORDER BY product_id LIMIT %(limit)s

-- name: images_of
SELECT product_id, image_id, position, source, sha256, width, height, format, bytes_ref
FROM seesame.product_images WHERE product_id = ANY(%(product_ids)s) ORDER BY product_id, position, image_id

-- name: get_image
SELECT product_id, image_id, position, source, sha256, width, height, format, bytes_ref
FROM seesame.product_images WHERE image_id = %(image_id)s

-- name: known_images
SELECT image_id FROM seesame.product_images
WHERE (product_id, image_id) IN (SELECT * FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[]))

-- name: insert_image
INSERT INTO seesame.product_images
    (product_id, image_id, position, source, sha256, width, height, format, bytes_ref, etag, last_modified, created_at)
VALUES (%(product_id)s, %(image_id)s, %(position)s, %(source)s, %(sha256)s, %(width)s, %(height)s, %(format)s,
        %(bytes_ref)s, %(etag)s, %(last_modified)s, %(now)s)
ON CONFLICT (product_id, image_id) DO NOTHING

-- name: place_images
UPDATE seesame.product_images i
SET source = n.source, position = n.position, etag = n.etag, last_modified = n.last_modified
FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[], %(sources)s::text[], %(positions)s::integer[],
            %(etags)s::text[], %(last_modifieds)s::text[])
    AS n (product_id, image_id, source, position, etag, last_modified)
WHERE i.product_id = n.product_id AND i.image_id = n.image_id
  AND (i.source, i.position, i.etag, i.last_modified) IS DISTINCT FROM
      (n.source, n.position, n.etag, n.last_modified)

-- name: validated_images
SELECT i.product_id, i.source, i.image_id, i.etag, i.last_modified
FROM seesame.product_images i
JOIN unnest(%(product_ids)s::text[], %(sources)s::text[]) AS n (product_id, source)
    ON i.product_id = n.product_id AND i.source = n.source
WHERE i.etag IS NOT NULL OR i.last_modified IS NOT NULL

-- name: replaced_images
SELECT i.product_id, i.image_id, i.position, i.source, i.sha256, i.width, i.height, i.format, i.bytes_ref
FROM seesame.product_images i
JOIN unnest(%(product_ids)s::text[], %(sources)s::text[]) AS n (product_id, source)
    ON i.product_id = n.product_id AND i.source = n.source
WHERE i.image_id <> ALL (%(image_ids)s::uuid[])

-- name: delete_images
DELETE FROM seesame.product_images
WHERE (product_id, image_id) IN (SELECT * FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[]))

-- name: forget_work
WITH held AS (
    SELECT product_id, image_id, space_id FROM seesame.image_work
    WHERE (product_id, image_id) IN (SELECT * FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[]))
    ORDER BY product_id, image_id FOR UPDATE
)
DELETE FROM seesame.image_work w USING held h
WHERE (w.product_id, w.image_id, w.space_id) = (h.product_id, h.image_id, h.space_id)

-- name: totals
SELECT (SELECT count(*) FROM seesame.products) AS products, (SELECT count(*) FROM seesame.product_images) AS images

-- name: categories
SELECT category, count(*) FROM seesame.products WHERE category IS NOT NULL
GROUP BY category ORDER BY count(*) DESC, category LIMIT %(limit)s

-- name: common_attributes
-- Of a sample: fields that are on many products and have few values, so that one can choose among these.
SELECT name FROM (
    SELECT a.key AS name, count(*) AS products, count(DISTINCT a.value) AS different
    FROM seesame.products f TABLESAMPLE SYSTEM (%(percent)s::real), jsonb_each(f.attributes) AS a
    WHERE jsonb_typeof(a.value) IN ('string', 'number', 'boolean', 'array')
    GROUP BY a.key
) AS counted
WHERE different BETWEEN 2 AND %(at_most)s AND 2 * different <= products
ORDER BY products DESC, different, name LIMIT %(limit)s
