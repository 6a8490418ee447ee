-- name: rows
SELECT n_live_tup, n_dead_tup FROM pg_stat_user_tables WHERE relid = to_regclass(%(table)s)

-- name: unusable_halfvec
SELECT count(*) FROM {embeddings} e WHERE abs(l2_norm(e.image_embedding) - 1) > 0.01

-- name: unusable_real
SELECT count(*) FROM {embeddings} e WHERE 'NaN'::real = ANY (e.image_embedding) OR 0 = ALL (e.image_embedding)

-- name: plan
EXPLAIN SELECT FROM {embeddings} e ORDER BY e.image_embedding <=> %(vector)s::halfvec LIMIT 10
