-- Who may take over by itself, and where the model of a space is found again: see docs/decisions/0014-model-change.md.

ALTER TABLE seesame.spaces
    ADD COLUMN automatic boolean NOT NULL DEFAULT false,  -- a candidate takes over by itself; a primary did
    -- A curated name, a repository or a folder's path, and which of its files; null where a service has the model.
    ADD COLUMN source text,
    ADD COLUMN precision text;

UPDATE seesame.spaces SET automatic = true WHERE role IN ('primary', 'candidate');
UPDATE seesame.spaces SET source = model WHERE role <> 'fallback';
