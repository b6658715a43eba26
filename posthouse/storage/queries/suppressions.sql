-- name: suppression_page
-- Newest first. $1-$4: the last entry of the page before, or 'infinity' and empty texts; $5: only this
-- address, or null.
SELECT address_key, reason, scope, source, added_at, expires_at, job_id, note
FROM email_suppression
WHERE added_at <= $1
  AND (added_at < $1 OR (address_key, scope, reason) > ($2, $3, $4))
  AND ($5::text IS NULL OR address_key = $5)
ORDER BY added_at DESC, address_key, scope, reason
LIMIT $6;

-- name: add_suppression
-- One that is there already is kept; only its end may move, and never nearer.
INSERT INTO email_suppression (address_key, scope, reason, source, added_at, expires_at, note)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (address_key, scope, reason) DO UPDATE
SET expires_at = CASE WHEN email_suppression.expires_at IS NULL OR excluded.expires_at IS NULL THEN NULL
                      ELSE greatest(email_suppression.expires_at, excluded.expires_at) END
RETURNING address_key, reason, scope, source, added_at, expires_at, job_id, note;

-- name: lock_suppressions
SELECT address_key, reason, scope, source, added_at, expires_at, job_id, note
FROM email_suppression
WHERE address_key = $1
ORDER BY address_key, scope, reason
FOR UPDATE;

-- name: remove_suppressions
DELETE FROM email_suppression WHERE address_key = $1;
