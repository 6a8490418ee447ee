-- What `seesame tune` chose for a space, and what searches of late were worth.

ALTER TABLE seesame.spaces
    ADD COLUMN recall   real,         -- that ef_search was chosen for; null: it was not tuned
    ADD COLUMN tuned_at timestamptz;

-- A few of the vectors that were searched for, so that recall is measured with real queries. No picture, no words.
CREATE TABLE seesame.query_samples (
    space_id   smallint NOT NULL,
    sample_id  bigint GENERATED ALWAYS AS IDENTITY,
    vector     real[] NOT NULL,
    ef_search  integer NOT NULL,
    recall     real NOT NULL,  -- of the ten nearest images
    sampled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (space_id, sample_id)
);
