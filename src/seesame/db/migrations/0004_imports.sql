-- Imports as jobs, and how the host of a picture knows its bytes again: see docs/decisions/0020-imports.md.

CREATE TABLE seesame.jobs (
    job_id       uuid PRIMARY KEY,
    mode         text NOT NULL CHECK (mode IN ('merge', 'sync')),
    forced       boolean NOT NULL,               -- a sync may delete any number of products
    filename     text,                           -- as the client named it, to be shown and nothing else
    format       text NOT NULL,                  -- csv or jsonl; the file is in the data folder under the job's id
    status       text NOT NULL DEFAULT 'queued'
                 CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    total        integer NOT NULL,               -- records; an estimate until the job has succeeded
    done         integer NOT NULL DEFAULT 0,     -- records whose batch is committed: where a resumed job goes on
    failed       integer NOT NULL DEFAULT 0,     -- of them those with an error
    counts       jsonb NOT NULL DEFAULT '{}',
    errors_total integer NOT NULL DEFAULT 0,
    message      text,                           -- why it failed
    attempts     integer NOT NULL DEFAULT 0,     -- claims since the last batch
    leased_until timestamptz,
    lease_token  uuid,
    created_at   timestamptz NOT NULL DEFAULT now(),
    started_at   timestamptz,
    ended_at     timestamptz
);

CREATE TABLE seesame.job_errors (
    job_id     uuid NOT NULL REFERENCES seesame.jobs ON DELETE CASCADE,
    number     integer NOT NULL,
    line       integer,
    product_id text,
    code       text NOT NULL,
    message    text NOT NULL,
    PRIMARY KEY (job_id, number)
);

ALTER TABLE seesame.product_images
    ADD COLUMN etag text,           -- both as the source's host gave them; null where it gave none
    ADD COLUMN last_modified text;
