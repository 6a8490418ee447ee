-- How pictures look in a few bits, which others are like them, and the groups made of that: docs/decisions/0018-duplicates.md.

CREATE TABLE seesame.fingerprints (
    product_id   text NOT NULL,
    image_id     uuid NOT NULL,
    bits         bytea NOT NULL,
    uniform      boolean NOT NULL,  -- nearly one colour: its bits say nothing
    compared_in  smallint,          -- the space whose vectors were compared; null: not yet
    -- Pictures of other products that are near or look alike; all three of one length.
    alike        uuid[] NOT NULL DEFAULT '{}',
    similarities real[] NOT NULL DEFAULT '{}',
    distances    smallint[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (product_id, image_id)
);

CREATE INDEX fingerprints_uniform ON seesame.fingerprints (image_id) WHERE uniform;

-- The groups are made anew as a whole, beside those of the run before, which are shown until the new ones are complete.
CREATE TABLE seesame.duplicate_runs (
    run_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    compared    bigint NOT NULL,     -- how many pictures had been compared
    finished_at timestamptz,
    stale       boolean NOT NULL DEFAULT false  -- more was compared since
);

CREATE TABLE seesame.duplicates (
    product_id text NOT NULL,
    image_id   uuid NOT NULL,
    run_id     bigint NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('exact', 'near', 'lookalike')),
    group_id   uuid NOT NULL,
    similarity real NOT NULL,      -- to the picture that is most like it, or in the middle of look-alikes
    distance   smallint NOT NULL,  -- bits that differ from that one's
    covered    boolean NOT NULL,   -- an exact group that is part of a near one, or uniform
    PRIMARY KEY (product_id, image_id, run_id, group_id)
);

CREATE INDEX duplicates_group ON seesame.duplicates (run_id, kind, group_id);

-- Onto the shards of their images, where the catalogue is distributed: before they may refer to them.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        IF EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'seesame.product_images'::regclass) THEN
            PERFORM create_distributed_table('seesame.fingerprints', 'product_id', colocate_with => 'seesame.products');
            PERFORM create_distributed_table('seesame.duplicates', 'product_id', colocate_with => 'seesame.products');
        END IF;
    END IF;
END
$$;

ALTER TABLE seesame.fingerprints
    ADD FOREIGN KEY (product_id, image_id) REFERENCES seesame.product_images ON DELETE CASCADE;
ALTER TABLE seesame.duplicates
    ADD FOREIGN KEY (product_id, image_id) REFERENCES seesame.product_images ON DELETE CASCADE;
