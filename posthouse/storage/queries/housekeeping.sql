-- name: forget_idempotency_keys
DELETE FROM idempotency_key WHERE created_at < now() - $1::interval;
