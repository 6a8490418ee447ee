-- The catalogue, the spaces and the work that is left. The tables of vectors are made with their spaces.
-- Every table but the registry of spaces carries product_id in its primary key, so that the schema can be distributed by product.

CREATE TABLE seesame.products (
    product_id  text PRIMARY KEY,
    title       text NOT NULL,
    description text NOT NULL,
    category    text,
    brand       text,
    price       numeric CHECK (price >= 0),
    currency    text,
    url         text,
    attributes  jsonb NOT NULL,
    search      tsvector GENERATED ALWAYS AS (
                    setweight(to_tsvector('english', title), 'A')
                    || setweight(to_tsvector('english', coalesce(category, '') || ' ' || coalesce(brand, '')), 'B')
                    || setweight(to_tsvector('english', description), 'C')
                ) STORED,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

CREATE INDEX products_search ON seesame.products USING gin (search);
CREATE INDEX products_attributes ON seesame.products USING gin (attributes jsonb_path_ops);
CREATE INDEX products_category ON seesame.products (category);
CREATE INDEX products_brand ON seesame.products (brand);
CREATE INDEX products_price ON seesame.products (price);

CREATE TABLE seesame.product_images (
    product_id text NOT NULL REFERENCES seesame.products ON DELETE CASCADE,
    image_id   uuid NOT NULL,
    position   integer NOT NULL,
    source     text NOT NULL,   -- the path or URL that it came from; 'upload' where it was sent
    sha256     bytea NOT NULL,  -- of the bytes as they came, so that an unchanged picture is known again
    width      integer NOT NULL,
    height     integer NOT NULL,
    format     text NOT NULL,
    bytes_ref  text NOT NULL,   -- where the picture store keeps it
    created_at timestamptz NOT NULL,
    PRIMARY KEY (product_id, image_id)
);

CREATE INDEX product_images_image_id ON seesame.product_images (image_id);

CREATE TABLE seesame.spaces (
    space_id     smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key          text NOT NULL UNIQUE,
    model        text NOT NULL,
    digest       text NOT NULL,
    dimensions   integer NOT NULL CHECK (dimensions > 0),
    role         text NOT NULL CHECK (role IN ('primary', 'fallback', 'candidate', 'retired')),
    ef_search    integer NOT NULL DEFAULT 100 CHECK (ef_search BETWEEN 1 AND 1000),
    created_at   timestamptz NOT NULL DEFAULT now(),
    activated_at timestamptz
);

CREATE UNIQUE INDEX spaces_one_of_each ON seesame.spaces (role) WHERE role IN ('primary', 'fallback');

CREATE TABLE seesame.image_work (
    product_id   text NOT NULL,
    image_id     uuid NOT NULL,
    space_id     smallint NOT NULL,
    attempts     integer NOT NULL DEFAULT 0,
    error_code   text,
    next_try_at  timestamptz NOT NULL DEFAULT now(),  -- 'infinity': given up
    leased_until timestamptz,
    lease_token  uuid,
    PRIMARY KEY (product_id, image_id, space_id)
);

CREATE INDEX image_work_next ON seesame.image_work (space_id, next_try_at);
