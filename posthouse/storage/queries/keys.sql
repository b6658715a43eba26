-- name: insert_api_key
INSERT INTO api_key (api_key_id, name, key_hash, stream, from_domains, created_at, scopes, sandbox)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: api_keys
-- All keys, the revoked ones too, newest first.
SELECT api_key_id, name, stream, from_domains, created_at, revoked_at, scopes, sandbox, last_used_at
FROM api_key
ORDER BY created_at DESC, api_key_id;

-- name: valid_api_key
SELECT api_key_id, name, stream, from_domains, created_at, revoked_at, scopes, sandbox, last_used_at
FROM api_key
WHERE key_hash = $1 AND revoked_at IS NULL;

-- name: revoke_api_key
UPDATE api_key SET revoked_at = now() WHERE api_key_id = $1 AND revoked_at IS NULL;
