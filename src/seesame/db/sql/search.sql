-- name: count_images
SELECT count(*) FROM (SELECT 1 FROM {embeddings} LIMIT %(at_most)s) AS counted

-- name: count_products
SELECT count(*) FROM (SELECT 1 FROM seesame.products f WHERE {condition} LIMIT %(at_most)s) AS counted

-- name: sampled
SELECT count(*), count(*) FILTER (WHERE {condition}) FROM seesame.products f TABLESAMPLE SYSTEM (%(percent)s::real)

-- name: nearest
WITH nearest AS MATERIALIZED (
    SELECT e.product_id, e.image_id, {distance} AS distance
    FROM {images} {join} WHERE {condition} {not_itself}
    ORDER BY distance LIMIT %(candidates)s
), best AS (
    SELECT DISTINCT ON (product_id) product_id, image_id, distance
    FROM nearest ORDER BY product_id, distance, image_id
), following AS (
    SELECT product_id, image_id, distance FROM best WHERE {following}
), page AS (
    SELECT product_id, image_id, distance FROM following ORDER BY distance, product_id LIMIT %(limit)s OFFSET %(offset)s
), found AS (
    -- Apart from the outer join below: there Citus would fetch the whole tables, not the rows of this page.
    SELECT page.distance, p.product_id, p.title, p.description, p.category, p.brand, p.price, p.currency, p.url,
        p.attributes, i.image_id, i.position, i.source, i.sha256, i.width, i.height, i.format, i.bytes_ref
    FROM page JOIN seesame.products p USING (product_id) JOIN seesame.product_images i USING (product_id, image_id)
)
SELECT totals.images, totals.products, 1 - found.distance AS similarity, found.*
FROM (SELECT (SELECT count(*) FROM nearest) AS images, (SELECT count(*) FROM following) AS products) AS totals
LEFT JOIN found ON true
ORDER BY found.distance, found.product_id

-- name: fulltext
WITH query AS (
    -- Some of the words are enough, but words that must not occur stay excluded.
    SELECT all_words, CASE WHEN all_words::text LIKE '%%!%%' THEN all_words
                           ELSE replace(all_words::text, '&', '|')::tsquery END AS any_word
    FROM websearch_to_tsquery('english', %(text)s) AS all_words
), page AS (
    SELECT f.product_id, f.title, f.description, f.category, f.brand, f.price, f.currency, f.url, f.attributes,
        (f.search @@ query.all_words)::integer + ts_rank_cd(f.search, query.any_word, 32) AS rank
    FROM seesame.products f, query WHERE f.search @@ query.any_word AND {condition}
    ORDER BY rank DESC, f.product_id LIMIT %(limit)s + 1 OFFSET %(offset)s
)
SELECT product_id, title, description, category, brand, price, currency, url, attributes, rank
FROM page ORDER BY rank DESC, product_id

-- name: vectors_of_products
SELECT e.image_id, e.image_embedding::real[] FROM {embeddings} e
WHERE e.product_id = ANY(%(product_ids)s)

-- name: vector_of_product
SELECT e.image_embedding::real[] FROM {embeddings} e JOIN seesame.product_images i USING (product_id, image_id)
WHERE e.product_id = %(product_id)s ORDER BY i.position, i.image_id LIMIT 1

-- name: vector_of_image
SELECT e.image_embedding::real[] FROM {embeddings} e
WHERE e.product_id = %(product_id)s AND e.image_id = %(image_id)s

-- name: column_facet
SELECT f.{column}, count(*) FROM seesame.products f WHERE {condition} AND f.{column} IS NOT NULL
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(limit)s

-- name: attribute_facet
SELECT value, count(*)
FROM seesame.products f, jsonb_array_elements(CASE jsonb_typeof(f.attributes -> %(name)s)
    WHEN 'array' THEN f.attributes -> %(name)s ELSE jsonb_build_array(f.attributes -> %(name)s) END) AS value
WHERE {condition} AND jsonb_typeof(value) IN ('string', 'number', 'boolean')
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(limit)s
