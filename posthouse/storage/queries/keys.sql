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

-- name: mark_api_keys_used
-- Several processes note the same keys: rows are locked in the order of their keys, and the latest use stays.
WITH used AS (
    SELECT u.api_key_id, date_trunc('minute', u.at) AS at
    FROM unnest($1::uuid[], $2::timestamptz[]) AS u (api_key_id, at)
), older AS (
    SELECT k.api_key_id, used.at
    FROM api_key AS k JOIN used USING (api_key_id)
    WHERE k.last_used_at IS NULL OR k.last_used_at < used.at
    ORDER BY k.api_key_id
    FOR NO KEY UPDATE OF k
)
UPDATE api_key AS k SET last_used_at = older.at FROM older WHERE k.api_key_id = older.api_key_id;

-- name: api_keys_within
-- Keys with no more scopes, streams, domains and environments than the key that asks; empty domains are all.
SELECT api_key_id, name, stream, from_domains, created_at, revoked_at, scopes, sandbox, last_used_at
FROM api_key
WHERE ($5::uuid IS NULL OR api_key_id < $5)
  AND scopes <@ $1::text[]
  AND ($2::text IS NULL OR stream = $2)
  AND ($3::text[] = '{}' OR (from_domains <> '{}' AND from_domains <@ $3))
  AND ($4::boolean IS FALSE OR sandbox)
ORDER BY api_key_id DESC
LIMIT $6;

-- name: revoke_api_key_within
-- As api_keys_within: whoever cannot see a key cannot end it either.
UPDATE api_key SET revoked_at = now()
WHERE api_key_id = $5 AND revoked_at IS NULL
  AND scopes <@ $1::text[]
  AND ($2::text IS NULL OR stream = $2)
  AND ($3::text[] = '{}' OR (from_domains <> '{}' AND from_domains <@ $3))
  AND ($4::boolean IS FALSE OR sandbox);
