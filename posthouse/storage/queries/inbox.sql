-- name: append_callbacks
INSERT INTO relay_inbox (relay, account, headers, body)
SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bytea[]);

-- name: keep_callbacks
-- From a log that cannot postpone: they came when they came there.
INSERT INTO relay_inbox (relay, account, headers, body, received_at, not_before)
SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bytea[], $5::timestamptz[], $6::timestamptz[]);

-- name: read_callbacks
-- The oldest that nobody holds; held until this transaction ends.
SELECT inbox_id, relay, account, headers, body, received_at
FROM relay_inbox
WHERE not_before <= now()
ORDER BY inbox_id
LIMIT $1
FOR UPDATE SKIP LOCKED;

-- name: drop_callbacks
DELETE FROM relay_inbox WHERE inbox_id = ANY($1::bigint[]);

-- name: postpone_callback
UPDATE relay_inbox SET not_before = $2 WHERE inbox_id = $1;

-- name: bury_callback
INSERT INTO dead_letter (source, reason, payload) VALUES ($1, $2, $3);
