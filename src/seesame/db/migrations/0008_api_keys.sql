-- Keys of the API: see docs/decisions/0028-keys-and-limits.md.

CREATE TABLE seesame.api_keys (
    key_id       text PRIMARY KEY,               -- the part of the key that may be shown
    name         text NOT NULL,
    scope        text NOT NULL CHECK (scope IN ('search', 'admin')),
    digest       bytea NOT NULL,                 -- SHA-256 of the secret part, which is 256 random bits
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,                    -- null: never
    last_used_at timestamptz,                    -- to the minute
    revoked_at   timestamptz
);
