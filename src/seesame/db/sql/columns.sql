-- name: find
SELECT n.nspname, c.relname, c.relkind, a.attname IS NOT NULL, format_type(a.atttypid, a.atttypmod),
    format_type(a.atttypid, NULL)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %(column)s AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid = to_regclass(%(table)s)

-- name: count
SELECT count(*) FROM {table}

-- name: read
SELECT {row_id}, {value}, {image_id} FROM {table}

-- name: primary_key
SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = to_regclass(%(table)s) AND i.indisprimary
ORDER BY array_position(i.indkey::smallint[], a.attnum)

-- name: lock
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE

-- name: default
SELECT pg_get_expr(d.adbin, d.adrelid)
FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE d.adrelid = to_regclass(%(table)s) AND a.attname = %(column)s AND a.attgenerated = ''

-- name: evaluate
SELECT {value}

-- name: drop_default
ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT

-- name: set_default
ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {value}

-- name: convert
ALTER TABLE {table} ALTER COLUMN {column} TYPE {type} USING {value}

-- name: has_index
SELECT EXISTS (
    SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
    JOIN pg_opclass o ON o.oid = i.indclass[0] JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = to_regclass(%(table)s) AND a.attname = %(column)s AND i.indisvalid AND i.indpred IS NULL
      AND m.amname = 'hnsw' AND o.opcname LIKE '%%_cosine_ops'
)

-- name: index
CREATE INDEX ON {table} USING hnsw ({column} {operators}) WITH (m = 16, ef_construction = 64)
