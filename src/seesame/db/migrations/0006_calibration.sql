-- What similarities mean, null while that was not measured: see docs/decisions/0019-calibration.md.

ALTER TABLE seesame.spaces ADD COLUMN calibration jsonb;
