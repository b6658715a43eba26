-- name: insert_endpoint
-- $1: the most there may be of one kind (live, test); nothing is inserted beyond.
INSERT INTO webhook_endpoint (endpoint_id, url, description, event_names, event_types, stream, from_domains, tags,
                              sandbox, secret, created_at)
SELECT $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
WHERE (SELECT count(*) FROM webhook_endpoint WHERE sandbox = $10) < $1;

-- name: endpoints_within
-- Endpoints that hear no more than a key may see ($1 its stream, $2 its domains, $3 whether it is a test key),
-- or, without $3, all; newest first, older than $4.
SELECT endpoint_id, url, description, event_names, stream, from_domains, tags, sandbox, created_at, status,
       disabled_at, disabled_reason, failing_since, last_error, previous_until
FROM webhook_endpoint
WHERE ($1::text IS NULL OR stream = $1)
  AND ($2::text[] = '{}' OR (from_domains <> '{}' AND from_domains <@ $2))
  AND ($3::boolean IS NULL OR sandbox = $3)
  AND ($4::uuid IS NULL OR endpoint_id < $4)
ORDER BY endpoint_id DESC
LIMIT $5;

-- name: endpoint_within
-- As endpoints_within, one of them.
SELECT endpoint_id, url, description, event_names, stream, from_domains, tags, sandbox, created_at, status,
       disabled_at, disabled_reason, failing_since, last_error, previous_until
FROM webhook_endpoint
WHERE ($1::text IS NULL OR stream = $1)
  AND ($2::text[] = '{}' OR (from_domains <> '{}' AND from_domains <@ $2))
  AND ($3::boolean IS NULL OR sandbox = $3)
  AND endpoint_id = $4;

-- name: change_endpoint
-- What is null stays as it is; null is a stream too (both), so $12 says whether that changes. Enabling one forgets why it was disabled and for how long it has failed: else
-- the next failure would disable it again. A pause was asked for by the old URL. One that somebody disables is nobody's trouble any more.
UPDATE webhook_endpoint
SET url = coalesce($2, url),
    description = coalesce($3, description),
    event_names = coalesce($4, event_names),
    event_types = coalesce($5, event_types),
    stream = CASE WHEN $12 THEN $6 ELSE stream END,
    from_domains = coalesce($7, from_domains),
    tags = coalesce($8, tags),
    status = coalesce($9, status),
    disabled_at = CASE WHEN $9 = 'enabled' THEN NULL WHEN $9 = 'disabled' THEN coalesce(disabled_at, $10) ELSE disabled_at END,
    disabled_reason = CASE WHEN $9 = 'enabled' THEN NULL
                           WHEN $9 = 'disabled' THEN coalesce(disabled_reason, $11) ELSE disabled_reason END,
    failing_since = CASE WHEN $9 <> status THEN NULL ELSE failing_since END,
    not_before = CASE WHEN $2 IS NOT NULL OR ($9 = 'enabled' AND status = 'disabled') THEN '-infinity'
                      ELSE not_before END
WHERE endpoint_id = $1;

-- name: delete_endpoint
-- Its deliveries are never claimed again, and go with their messages when their time is over.
DELETE FROM webhook_endpoint WHERE endpoint_id = $1;

-- name: endpoint_secrets
-- $2: now. The one before signs as long as it is valid.
SELECT secret, CASE WHEN previous_until > $2 THEN previous_secret END
FROM webhook_endpoint
WHERE endpoint_id = $1;

-- name: rotate_secret
UPDATE webhook_endpoint
SET previous_secret = secret, secret = $2, previous_until = $3
WHERE endpoint_id = $1;

-- name: listening_endpoints
-- All that hear of events.
SELECT endpoint_id, url, description, event_names, stream, from_domains, tags, sandbox, created_at, status,
       disabled_at, disabled_reason, failing_since, last_error, previous_until
FROM webhook_endpoint
WHERE status = 'enabled'
ORDER BY endpoint_id;

-- name: begin_redelivery
-- Of all messages in the range that begins after $2 and ends with $3; only when none is under way.
UPDATE webhook_endpoint
SET redeliver_after = $2, redeliver_until = $3, redeliver_failed = $4
WHERE endpoint_id = $1 AND redeliver_after IS NULL;

-- name: redeliver_some
-- The next $1 deliveries of one endpoint's redelivery made due again at $2, and its place moved on, in one
-- statement: a death loses none and repeats none. Returns the endpoint, whether or not that was the last. The
-- rows are compared as the primary key has them: by message alone, the deliveries of all endpoints were read.
WITH endpoint AS MATERIALIZED (
    SELECT endpoint_id, redeliver_after, redeliver_until, redeliver_failed
    FROM webhook_endpoint
    WHERE redeliver_after IS NOT NULL
    ORDER BY endpoint_id
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
), picked AS MATERIALIZED (
    SELECT d.endpoint_id, d.message_id, d.state, e.redeliver_failed
    FROM endpoint e, LATERAL (
        SELECT endpoint_id, message_id, state
        FROM webhook_delivery
        WHERE (endpoint_id, message_id) > (e.endpoint_id, e.redeliver_after)
          AND (endpoint_id, message_id) <= (e.endpoint_id, e.redeliver_until)
        ORDER BY endpoint_id, message_id
        LIMIT $1
        FOR NO KEY UPDATE
    ) d
), again AS (
    UPDATE webhook_delivery d
    SET state = 'pending', due_at = $2, tries = 0
    FROM picked p
    WHERE d.endpoint_id = p.endpoint_id AND d.message_id = p.message_id
      AND p.state <> 'sending' AND (p.state <> 'delivered' OR NOT p.redeliver_failed)
)
UPDATE webhook_endpoint w
SET redeliver_after = CASE WHEN done.n = $1 THEN done.last END,
    redeliver_until = CASE WHEN done.n = $1 THEN w.redeliver_until END
FROM endpoint, (SELECT count(*) AS n, max(message_id::text)::uuid AS last FROM picked) AS done
WHERE w.endpoint_id = endpoint.endpoint_id
RETURNING w.endpoint_id;

-- name: webhook_health
-- For how many seconds the delivery that waits longest has been due, over all endpoints.
SELECT coalesce(max(extract(epoch FROM $1 - d.due_at)), 0)::float8
FROM webhook_endpoint e, LATERAL (
    SELECT due_at FROM webhook_delivery
    WHERE endpoint_id = e.endpoint_id AND state IN ('pending', 'sending') AND due_at <= $1
    ORDER BY due_at LIMIT 1
) d
WHERE e.status = 'enabled';

-- name: failing_endpoints
-- Those that fail, and those that were disabled for it, worst first.
SELECT endpoint_id, url, description, event_names, stream, from_domains, tags, sandbox, created_at, status,
       disabled_at, disabled_reason, failing_since, last_error, previous_until
FROM webhook_endpoint
WHERE failing_since IS NOT NULL
ORDER BY status, failing_since, endpoint_id
LIMIT $1;
