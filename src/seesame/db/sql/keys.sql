-- name: insert
INSERT INTO seesame.api_keys (key_id, name, scope, digest, expires_at)
VALUES (%(key_id)s, %(name)s, %(scope)s, %(digest)s, now() + make_interval(secs => %(lifetime_s)s))
RETURNING key_id, name, scope, digest, created_at, expires_at, last_used_at, revoked_at

-- name: list
SELECT key_id, name, scope, digest, created_at, expires_at, last_used_at, revoked_at
FROM seesame.api_keys ORDER BY created_at, key_id

-- name: live
SELECT key_id, name, scope, digest, created_at, expires_at, last_used_at, revoked_at
FROM seesame.api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())

-- name: revoke
UPDATE seesame.api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = %(key_id)s
RETURNING key_id, name, scope, digest, created_at, expires_at, last_used_at, revoked_at

-- name: touch
UPDATE seesame.api_keys SET last_used_at = now()
WHERE key_id = ANY(%(key_ids)s) AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
