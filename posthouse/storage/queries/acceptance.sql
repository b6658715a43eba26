-- name: limit_lock_wait
-- For this transaction: $1 like '1s'.
SELECT set_config('lock_timeout', $1, true);

-- name: claim_idempotency_keys
-- The keys that were not there yet, in key order. One that another transaction is writing is waited for.
INSERT INTO idempotency_key (api_key_id, key, body_hash, response)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[])
ON CONFLICT DO NOTHING
RETURNING api_key_id, key;

-- name: stored_answers
-- A statement of its own: only a new one sees what the transaction that was waited for has committed.
SELECT k.api_key_id, k.key, k.body_hash, k.response
FROM unnest($1::uuid[], $2::text[]) AS wanted (api_key_id, key)
JOIN idempotency_key k ON k.api_key_id = wanted.api_key_id AND k.key = wanted.key;

-- name: give_back_keys
-- Keys that this transaction has just claimed and does not need.
DELETE FROM idempotency_key k
USING unnest($1::uuid[], $2::text[]) AS given (api_key_id, key)
WHERE k.api_key_id = given.api_key_id AND k.key = given.key;

-- name: correct_answer
-- Of a key that this transaction has just claimed.
UPDATE idempotency_key SET response = $3 WHERE api_key_id = $1 AND key = $2;

-- name: insert_contents
-- In key order; equal bodies of one day meet in one row.
INSERT INTO email_content (content_id, html, text, attachments)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[])
ON CONFLICT DO NOTHING;

-- name: accept_jobs
-- Jobs of one moment ($1, of the day $2), the event that each was accepted, and both sides of the books. The
-- counts ($25 to $27, and how many events) are the client's, not counted from the rows: that is what makes
-- them a second side.
WITH jobs AS (
    INSERT INTO email_job (job_id, message_id, stream, to_address, address_key, from_address, subject,
                           template_id, template_version, template_vars, content_id, addressing, headers, tags,
                           metadata, tracked, due_at, scheduled_at, expires_at, expiry_given, sandbox,
                           created_at, status)
    SELECT m.*, $1, 'PENDING'
    FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                $10::int[], $11::int[], $12::jsonb[], $13::uuid[], $14::jsonb[], $15::jsonb[], $16::jsonb[],
                $17::jsonb[], $18::bool[], $19::timestamptz[], $20::timestamptz[], $21::timestamptz[],
                $22::bool[], $23::bool[]) AS m
), told AS (
    INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin)
    SELECT e.job_id, e.event_id, $1, 0, 'accepted', 'house'
    FROM unnest($3::uuid[], $24::uuid[]) AS e (job_id, event_id)
), hooked AS (
    INSERT INTO webhook_event (job_id, event_id)
    SELECT e.job_id, e.event_id
    FROM unnest($3::uuid[], $24::uuid[]) AS e (job_id, event_id)
    WHERE 'accepted' = ANY (ARRAY(SELECT type FROM webhook_interest))
), told_booked AS (
    INSERT INTO event_ledger (day, n) VALUES ($2::date, $27::bigint)
), listed AS (
    INSERT INTO email_term (term, job_id)
    SELECT * FROM unnest($28::text[], $29::uuid[])
), moved AS (
    INSERT INTO job_delta (day, stream, from_status, to_status, n)
    SELECT $2::date, b.stream, NULL, 'PENDING', b.n FROM unnest($25::text[], $26::bigint[]) AS b (stream, n)
)
INSERT INTO acceptance_ledger (day, stream, n)
SELECT $2::date, b.stream, b.n FROM unnest($25::text[], $26::bigint[]) AS b (stream, n);
