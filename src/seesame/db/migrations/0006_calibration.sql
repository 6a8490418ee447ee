-- How a cosine of a space becomes a score, and from which on it is a match: see docs/decisions/0019-calibration.md.

ALTER TABLE seesame.spaces ADD COLUMN calibration jsonb;  -- null: not measured yet
