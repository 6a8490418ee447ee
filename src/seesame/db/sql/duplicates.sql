-- name: lock
SELECT pg_try_advisory_lock(%(lock)s)

-- name: unlock
SELECT pg_advisory_unlock(%(lock)s)

-- name: count_unread
SELECT greatest(0, (SELECT count(*) FROM seesame.product_images) - (SELECT count(*) FROM seesame.fingerprints))

-- name: count_waiting
SELECT greatest(0, (SELECT count(*) FROM seesame.product_images)
                 - (SELECT count(*) FROM seesame.fingerprints WHERE compared_in IS NOT NULL))

-- name: unread
SELECT i.product_id, i.image_id, i.bytes_ref FROM seesame.product_images i
WHERE (i.product_id, i.image_id) > (%(product_id)s, %(image_id)s)
  AND NOT EXISTS (
    -- The order is told once more, so that none that come before it are looked through.
    SELECT FROM seesame.fingerprints f WHERE f.product_id = i.product_id AND f.image_id = i.image_id
      AND (f.product_id, f.image_id) > (%(product_id)s, %(image_id)s))
ORDER BY i.product_id, i.image_id LIMIT %(limit)s

-- name: count_uncompared
SELECT count(*) FROM seesame.fingerprints f JOIN {embeddings} e USING (product_id, image_id)
WHERE f.compared_in IS DISTINCT FROM %(space_id)s

-- name: uncompared
SELECT product_id, image_id, bits, uniform FROM seesame.fingerprints
WHERE (product_id, image_id) > (%(product_id)s, %(image_id)s) AND compared_in IS DISTINCT FROM %(space_id)s
ORDER BY product_id, image_id LIMIT %(limit)s

-- name: vectors_of
SELECT image_id, sha256, array_send(image_embedding::real[]) FROM {embeddings}
WHERE (product_id, image_id) IN (SELECT * FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[]))

-- name: looks
SELECT image_id, bits FROM seesame.fingerprints
WHERE (product_id, image_id) IN (SELECT * FROM unnest(%(product_ids)s::text[], %(image_ids)s::uuid[])) AND NOT uniform

-- name: write_alike
UPDATE seesame.fingerprints SET
    compared_in = %(space_id)s, alike = %(alike)s, similarities = %(similarities)s, distances = %(distances)s
WHERE product_id = %(product_id)s AND image_id = %(image_id)s

-- name: make_stale
UPDATE seesame.duplicate_runs SET stale = true WHERE NOT stale

-- name: equal
SELECT array_agg(image_id) FROM seesame.product_images
GROUP BY sha256 HAVING count(*) > 1

-- name: alike
SELECT image_id, alike, similarities, distances FROM seesame.fingerprints WHERE cardinality(alike) > 0

-- name: uniform
SELECT image_id FROM seesame.fingerprints WHERE uniform

-- name: begin
INSERT INTO seesame.duplicate_runs (compared) VALUES (%(compared)s) RETURNING run_id

-- name: count_compared
SELECT count(*) FROM seesame.fingerprints WHERE compared_in IS NOT NULL

-- name: others
SELECT run_id FROM seesame.duplicate_runs
WHERE run_id <> coalesce((SELECT max(run_id) FROM seesame.duplicate_runs WHERE finished_at IS NOT NULL), 0)

-- name: clear
DELETE FROM seesame.duplicates WHERE run_id = ANY(%(run_ids)s)

-- name: forget
DELETE FROM seesame.duplicate_runs WHERE run_id = ANY(%(run_ids)s)

-- name: write_members
INSERT INTO seesame.duplicates (product_id, image_id, run_id, kind, group_id, similarity, distance, covered)
SELECT i.product_id, i.image_id, %(run_id)s, n.kind, n.group_id, n.similarity, n.distance, n.covered
FROM unnest(%(image_ids)s::uuid[], %(kinds)s::text[], %(group_ids)s::uuid[], %(similarities)s::real[],
            %(distances)s::smallint[], %(covered)s::boolean[])
    AS n (image_id, kind, group_id, similarity, distance, covered)
JOIN seesame.product_images i USING (image_id)

-- name: finish
UPDATE seesame.duplicate_runs SET finished_at = now() WHERE run_id = %(run_id)s

-- name: run
SELECT run_id, compared, finished_at, stale FROM seesame.duplicate_runs
WHERE finished_at IS NOT NULL ORDER BY run_id DESC LIMIT 1

-- name: groups_of
SELECT group_id FROM seesame.duplicates WHERE run_id = %(run_id)s AND product_id = %(product_id)s

-- name: groups
WITH found AS (
    SELECT kind, group_id, count(DISTINCT product_id) AS products, count(*) AS pictures, avg(similarity) AS similarity
    FROM seesame.duplicates
    WHERE run_id = %(run_id)s AND kind = ANY(%(kinds)s::text[])
      AND (%(group_ids)s::uuid[] IS NULL OR group_id = ANY(%(group_ids)s::uuid[]))
    GROUP BY kind, group_id HAVING count(DISTINCT product_id) > 1
), page AS (
    SELECT array_position(%(kinds)s::text[], kind) AS place, * FROM found
    ORDER BY place, products DESC, similarity DESC, group_id LIMIT %(limit)s OFFSET %(offset)s
)
SELECT totals.groups, page.kind, page.group_id, page.products, page.pictures
FROM (SELECT count(*) AS groups FROM found) AS totals LEFT JOIN page ON true
ORDER BY page.place, page.products DESC, page.similarity DESC, page.group_id

-- name: members
SELECT d.group_id, d.similarity, d.distance, p.title,
    i.product_id, i.image_id, i.position, i.source, i.sha256, i.width, i.height, i.format, i.bytes_ref
FROM (
    SELECT group_id, product_id, image_id, similarity, distance, row_number() OVER (
        PARTITION BY group_id
        ORDER BY product_id IS DISTINCT FROM %(product_id)s::text, similarity DESC, product_id, image_id) AS place
    FROM seesame.duplicates WHERE run_id = %(run_id)s AND group_id = ANY(%(group_ids)s)
) AS d
JOIN seesame.products p USING (product_id) JOIN seesame.product_images i USING (product_id, image_id)
WHERE d.place <= coalesce(%(most)s::bigint, d.place)
ORDER BY d.group_id, d.place

-- name: placeholders
WITH found AS (
    SELECT min(image_id::text)::uuid AS image_id, count(DISTINCT product_id) AS products,
        CASE kind WHEN 'exact' THEN 'same_picture' ELSE 'near_picture' END AS reason
    FROM seesame.duplicates WHERE run_id = %(run_id)s AND kind IN ('exact', 'near') AND NOT covered
    GROUP BY kind, group_id HAVING count(DISTINCT product_id) >= %(at_least)s
    UNION ALL
    SELECT min(f.image_id::text)::uuid, count(DISTINCT f.product_id), 'uniform'
    FROM seesame.fingerprints f JOIN seesame.product_images i USING (product_id, image_id)
    WHERE f.uniform GROUP BY i.sha256
), page AS (
    SELECT image_id, products, reason FROM found ORDER BY products DESC, image_id LIMIT %(limit)s OFFSET %(offset)s
)
SELECT totals.pictures, page.image_id, page.products, page.reason
FROM (SELECT count(*) AS pictures FROM found) AS totals LEFT JOIN page ON true
ORDER BY page.products DESC, page.image_id

-- name: images
SELECT product_id, image_id, position, source, sha256, width, height, format, bytes_ref
FROM seesame.product_images WHERE image_id = ANY(%(image_ids)s)
