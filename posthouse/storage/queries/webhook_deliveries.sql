-- name: due_endpoints
-- Enabled endpoints that something is due for at $1.
SELECT e.endpoint_id, e.url, e.secret, CASE WHEN e.previous_until > $1 THEN e.previous_secret END, e.failing_since
FROM webhook_endpoint e
WHERE e.status = 'enabled' AND e.not_before <= $1
  AND EXISTS (
      SELECT FROM webhook_delivery d
      WHERE d.endpoint_id = e.endpoint_id AND d.state IN ('pending', 'sending') AND d.due_at <= $1
  )
ORDER BY e.endpoint_id;

-- name: claim_deliveries
-- Up to $2 due deliveries of one endpoint, ours until $4. One whose sender died is due again then.
WITH picked AS MATERIALIZED (
    SELECT endpoint_id, message_id
    FROM webhook_delivery
    WHERE endpoint_id = $1 AND state IN ('pending', 'sending') AND due_at <= $3
    ORDER BY due_at
    LIMIT $2
    FOR NO KEY UPDATE SKIP LOCKED
), claimed AS (
    UPDATE webhook_delivery d
    SET state = 'sending', due_at = $4, attempt = d.attempt + 1, tries = d.tries + 1
    FROM picked
    WHERE d.endpoint_id = picked.endpoint_id AND d.message_id = picked.message_id
    RETURNING d.endpoint_id, d.message_id, d.attempt, d.tries
)
SELECT c.endpoint_id, c.message_id, c.attempt, c.tries, m.body
FROM claimed c
JOIN webhook_message m ON m.message_id = c.message_id;

-- name: record_standing
-- What answers say of their endpoints, in key order; before their deliveries, as redelivery does it. Returns
-- those that this disables: at once ($5), or because they have failed since before $7. One success ends the
-- failing whatever else was answered.
WITH told AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bool[], $3::text[], $4::timestamptz[], $5::text[])
        AS t (endpoint_id, succeeded, error, not_before, gone)
), standing AS MATERIALIZED (
    SELECT e.endpoint_id, e.status, told.succeeded, told.error, told.not_before, told.gone,
           CASE WHEN NOT told.succeeded THEN coalesce(e.failing_since, $6) END AS failing_since
    FROM webhook_endpoint e
    JOIN told ON told.endpoint_id = e.endpoint_id
    ORDER BY e.endpoint_id
    FOR NO KEY UPDATE OF e
), judged AS (
    SELECT *,
           CASE WHEN gone IS NOT NULL THEN gone
                WHEN failing_since <= $7
                THEN format('every attempt has failed since %s; the last one: %s',
                            to_char(failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), error)
           END AS reason
    FROM standing
), written AS (
    UPDATE webhook_endpoint e
    SET failing_since = j.failing_since,
        last_error = CASE WHEN j.succeeded THEN e.last_error ELSE j.error END,
        not_before = greatest(e.not_before, j.not_before),
        status = CASE WHEN j.reason IS NULL THEN e.status ELSE 'disabled' END,
        disabled_at = CASE WHEN j.reason IS NULL OR e.status = 'disabled' THEN e.disabled_at ELSE $6 END,
        disabled_reason = CASE WHEN j.reason IS NULL OR e.status = 'disabled' THEN e.disabled_reason ELSE j.reason END
    FROM judged j
    WHERE e.endpoint_id = j.endpoint_id
)
SELECT endpoint_id, reason FROM judged WHERE reason IS NOT NULL AND status = 'enabled';

-- name: record_attempts
-- Answers, in key order: one that came after its delivery was taken for lost changes nothing but the log.
WITH answered AS MATERIALIZED (
    SELECT *
    FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::int[],
                $8::smallint[], $9::text[], $10::text[])
         AS a (endpoint_id, message_id, attempt, state, due_at, at, ms, http_status, error, response)
), logged AS (
    INSERT INTO webhook_attempt (message_id, endpoint_id, attempt, at, ms, http_status, error, response)
    SELECT message_id, endpoint_id, attempt, at, ms, http_status, error, response FROM answered
    ON CONFLICT DO NOTHING
), held AS MATERIALIZED (
    SELECT d.endpoint_id, d.message_id, a.state, a.due_at
    FROM webhook_delivery d
    JOIN answered a ON a.endpoint_id = d.endpoint_id AND a.message_id = d.message_id AND a.attempt = d.attempt
    WHERE d.state = 'sending'
    ORDER BY d.endpoint_id, d.message_id
    FOR NO KEY UPDATE OF d
)
UPDATE webhook_delivery d
SET state = held.state, due_at = held.due_at
FROM held
WHERE d.endpoint_id = held.endpoint_id AND d.message_id = held.message_id;

-- name: redeliver_one
-- Due again at $3, whatever became of it; not while it is being sent.
UPDATE webhook_delivery
SET state = 'pending', due_at = $3, tries = 0
WHERE endpoint_id = $1 AND message_id = $2 AND state <> 'sending';

-- name: deliveries
-- An endpoint's deliveries, newest message first: older than $2, at least $3.
SELECT message_id, name, job_id, state, due_at, attempt
FROM webhook_delivery
WHERE endpoint_id = $1 AND message_id < $2 AND message_id >= $3
ORDER BY message_id DESC
LIMIT $4;

-- name: open_deliveries
-- As deliveries, of those in the states $4, none of which is `delivered`: few among many, with an index.
SELECT message_id, name, job_id, state, due_at, attempt
FROM webhook_delivery
WHERE endpoint_id = $1 AND message_id < $2 AND message_id >= $3 AND state <> 'delivered' AND state = ANY($4::text[])
ORDER BY message_id DESC
LIMIT $5;

-- name: delivered_deliveries
-- As deliveries, of those that were taken: nearly all are.
SELECT message_id, name, job_id, state, due_at, attempt
FROM webhook_delivery
WHERE endpoint_id = $1 AND message_id < $2 AND message_id >= $3 AND state = 'delivered'
ORDER BY message_id DESC
LIMIT $4;

-- name: delivery
SELECT message_id, name, job_id, state, due_at, attempt
FROM webhook_delivery
WHERE endpoint_id = $1 AND message_id = $2;

-- name: message_body
SELECT body FROM webhook_message WHERE message_id = $1;

-- name: delivery_attempts
-- The last $3 attempts of each of these deliveries, oldest first.
SELECT a.message_id, a.attempt, a.at, a.ms, a.http_status, a.error, a.response
FROM unnest($2::uuid[]) AS wanted (message_id), LATERAL (
    SELECT * FROM webhook_attempt
    WHERE message_id = wanted.message_id AND endpoint_id = $1
    ORDER BY attempt DESC
    LIMIT $3
) a
ORDER BY a.message_id, a.attempt;
