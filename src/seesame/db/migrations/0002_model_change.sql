-- Who may take over by itself, and where the model of a space is found again: see docs/decisions/0014-model-change.md.

ALTER TABLE seesame.spaces
    ADD COLUMN automatic boolean NOT NULL DEFAULT false,  -- a candidate takes over by itself; a primary did
    ADD COLUMN source text,     -- a curated name, a repository or a folder's path; NULL: a CLIP service has the model
    ADD COLUMN precision text;  -- which of the model's files

UPDATE seesame.spaces SET automatic = true WHERE role IN ('primary', 'candidate');
UPDATE seesame.spaces SET source = model WHERE role <> 'fallback';
