-- name: create_next
CREATE TABLE IF NOT EXISTS {next} (
    product_id      text NOT NULL,
    image_id        uuid NOT NULL,
    sha256          bytea NOT NULL,
    image_embedding {vector_type} NOT NULL,
    PRIMARY KEY (product_id, image_id)
)

-- name: count_next
SELECT count(*) FROM {next}

-- name: last_copied
SELECT product_id, image_id FROM {next} ORDER BY product_id DESC, image_id DESC LIMIT 1

-- name: copy_some
INSERT INTO {next} (product_id, image_id, sha256, image_embedding)
SELECT product_id, image_id, sha256, image_embedding::{vector_type} FROM {embeddings}
WHERE (product_id, image_id) > (%(product_id)s::text, %(image_id)s::uuid)
ORDER BY product_id, image_id LIMIT %(limit)s

-- name: copy_missing
INSERT INTO {next} (product_id, image_id, sha256, image_embedding)
SELECT e.product_id, e.image_id, e.sha256, e.image_embedding::{vector_type} FROM {embeddings} e
WHERE NOT EXISTS (SELECT FROM {next} n WHERE n.product_id = e.product_id AND n.image_id = e.image_id)

-- name: delete_gone
DELETE FROM {next} n
WHERE NOT EXISTS (SELECT FROM {embeddings} e WHERE e.product_id = n.product_id AND e.image_id = n.image_id)

-- name: lock_both
LOCK TABLE seesame.product_images, {embeddings} IN ACCESS EXCLUSIVE MODE

-- name: drop_old
DROP TABLE {embeddings}

-- name: take_place
ALTER TABLE {next} RENAME TO {name}

-- name: refer
ALTER TABLE {embeddings} ADD CONSTRAINT {reference}
    FOREIGN KEY (product_id, image_id) REFERENCES seesame.product_images ON DELETE CASCADE NOT VALID

-- name: validate
ALTER TABLE {embeddings} VALIDATE CONSTRAINT {reference}
