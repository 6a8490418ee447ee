-- Pages of the list of products are read in its order, not sorted out of the whole table.

CREATE INDEX CONCURRENTLY products_newest ON seesame.products (created_at DESC, product_id);
