-- name: nearest
SELECT {distance} AS distance FROM {embeddings} e ORDER BY distance LIMIT %(count)s

-- name: keep
INSERT INTO seesame.query_samples (space_id, vector, ef_search, recall)
VALUES (%(space_id)s, %(vector)s, %(ef_search)s, %(recall)s)

-- name: forget_old
DELETE FROM seesame.query_samples WHERE space_id = %(space_id)s AND sample_id <= (
    SELECT sample_id FROM seesame.query_samples WHERE space_id = %(space_id)s
    ORDER BY sample_id DESC OFFSET %(kept)s LIMIT 1)

-- name: sampled
SELECT vector FROM seesame.query_samples WHERE space_id = %(space_id)s ORDER BY sample_id DESC LIMIT %(count)s

-- name: some_images
SELECT e.image_embedding::real[] FROM {embeddings} e TABLESAMPLE BERNOULLI (%(percent)s::real) REPEATABLE (1)
ORDER BY e.image_id LIMIT %(count)s

-- name: neighbour
SELECT e.image_embedding::real[] FROM {embeddings} e
ORDER BY e.image_embedding <=> %(vector)s::halfvec OFFSET %(place)s LIMIT 1

-- name: tuned
UPDATE seesame.spaces SET ef_search = %(ef_search)s, recall = %(recall)s, tuned_at = %(now)s
WHERE space_id = %(space_id)s

-- name: of_late
SELECT s.recall AS wanted, avg(q.recall) AS recall, count(q.recall) AS samples
FROM seesame.spaces s LEFT JOIN (
    SELECT recall, ef_search FROM seesame.query_samples WHERE space_id = %(space_id)s
    ORDER BY sample_id DESC LIMIT %(count)s
) AS q ON q.ef_search = s.ef_search
WHERE s.space_id = %(space_id)s GROUP BY s.recall
