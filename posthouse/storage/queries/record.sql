-- name: lock_jobs
-- The jobs that a batch of events is about, locked in key order: four clients on overlapping sets made 33
-- deadlocks unsorted and none sorted. $2, $3: lowest and highest id (prunes partitions).
SELECT job_id, status, attempt, in_doubt, stream, campaign_id, address_key, provider_message_id,
       (created_at AT TIME ZONE 'UTC')::date AS day
FROM email_job
WHERE job_id = ANY($1::uuid[]) AND job_id >= $2 AND job_id <= $3
ORDER BY job_id
FOR NO KEY UPDATE;

-- name: insert_events
-- Events of locked jobs; one that is there already changes nothing and is not returned. What an endpoint wants
-- waits in webhook_event to be told, committed with the event itself.
WITH told AS (
    INSERT INTO email_event (job_id, event_id, attempt, type, origin, occurred_at, bounce_class, reason, relay,
                             provider_message_id, smtp_code, enhanced_code, diagnostic, url, user_agent, machine,
                             template_version, raw)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::text[], $6::timestamptz[],
                         $7::text[], $8::text[], $9::text[], $10::text[], $11::smallint[], $12::text[],
                         $13::text[], $14::text[], $15::text[], $16::bool[], $17::int[], $18::bytea[])
    ON CONFLICT DO NOTHING
    RETURNING job_id, event_id, type
), hooked AS (
    INSERT INTO webhook_event (job_id, event_id)
    SELECT job_id, event_id FROM told WHERE type = ANY (ARRAY(SELECT type FROM webhook_interest))
)
SELECT event_id FROM told;

-- name: soft_bounces
-- How many attempts of each job ended in a soft bounce. $2, $3: lowest and highest id.
SELECT job_id, attempt
FROM email_event
WHERE job_id = ANY($1::uuid[]) AND job_id >= $2 AND job_id <= $3
  AND type = 'bounced' AND bounce_class = 'soft'
GROUP BY job_id, attempt;

-- name: move_jobs
-- New states of locked jobs. $9-$12: the spans of the ids; with one span, lowest and highest id, the planner read
-- all of it for every row (0.9 ms against 3.6 for 100). A soft bounce's retries run their
-- whole schedule, so they push back an expiry that was only the stream's default; one that the client
-- gave holds, and the job ends then instead of waiting for its turn.
WITH moved AS (
    UPDATE email_job j
    SET status = m.status,
        in_doubt = m.in_doubt,
        due_at = CASE WHEN m.soft_retry AND j.expiry_given THEN least(m.due_at, j.expires_at)
                      ELSE coalesce(m.due_at, j.due_at) END,
        expires_at = CASE WHEN m.soft_retry AND NOT j.expiry_given
                          THEN greatest(j.expires_at, m.due_at + interval '1 hour')
                          ELSE j.expires_at END,
        sent_at = coalesce(j.sent_at, m.sent_at),
        relay = coalesce(m.relay, j.relay),
        provider_message_id = coalesce(m.provider_message_id, j.provider_message_id)
    FROM unnest($1::uuid[], $2::text[], $3::bool[], $4::timestamptz[], $5::timestamptz[], $6::text[],
                $7::text[], $8::bool[])
         AS m (job_id, status, in_doubt, due_at, sent_at, relay, provider_message_id, soft_retry)
    WHERE j.job_id = m.job_id AND (j.job_id BETWEEN $9 AND $10 OR j.job_id BETWEEN $11 AND $12)
    RETURNING j.job_id
)
SELECT count(*) FROM moved;

-- name: mark_jobs
-- First opened, clicked, complained, unsubscribed; relays report in any order. $6-$9: the spans
-- of the ids.
UPDATE email_job j
SET opened_at = least(j.opened_at, m.opened_at),
    clicked_at = least(j.clicked_at, m.clicked_at),
    complained_at = least(j.complained_at, m.complained_at),
    unsubscribed_at = least(j.unsubscribed_at, m.unsubscribed_at)
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
     AS m (job_id, opened_at, clicked_at, complained_at, unsubscribed_at)
WHERE j.job_id = m.job_id AND (j.job_id BETWEEN $6 AND $7 OR j.job_id BETWEEN $8 AND $9);

-- name: record_sent
-- Acceptances of mails that are in hand, all of it in one statement: what lock_jobs, insert_events, move_jobs and
-- book do in six round trips. Only jobs in SENDING ($9) whose attempt the event names; the others are not
-- touched, and are not among the ids returned. $10-$13: the spans of the ids. What belongs to a job is found by
-- its place in $1: a join of the spans' days would lose rows (storage/spans.py).
WITH fit AS MATERIALIZED (
    SELECT j.job_id, array_position($1::uuid[], j.job_id) AS place
    FROM email_job j
    WHERE j.job_id = ANY ($1::uuid[]) AND (j.job_id BETWEEN $10 AND $11 OR j.job_id BETWEEN $12 AND $13)
      AND j.attempt = ($3::int[])[array_position($1::uuid[], j.job_id)] AND j.status = $9
    ORDER BY j.job_id
    FOR NO KEY UPDATE
), told AS (
    INSERT INTO email_event (job_id, event_id, attempt, type, origin, occurred_at, relay,
                             provider_message_id, diagnostic, template_version)
    SELECT job_id, ($2::uuid[])[place], ($3::int[])[place], 'sent', 'handover', ($4::timestamptz[])[place],
           ($5::text[])[place], ($6::text[])[place], ($7::text[])[place], ($8::int[])[place]
    FROM fit
    ON CONFLICT DO NOTHING
    RETURNING job_id, event_id
), hooked AS (
    INSERT INTO webhook_event (job_id, event_id)
    SELECT job_id, event_id FROM told WHERE 'sent' = ANY (ARRAY(SELECT type FROM webhook_interest))
), chosen AS MATERIALIZED (
    SELECT array_agg(job_id) AS ids FROM told
), moved AS (
    UPDATE email_job j
    SET status = 'SENT',
        in_doubt = false,
        sent_at = coalesce(j.sent_at, ($4::timestamptz[])[array_position($1::uuid[], j.job_id)]),
        relay = ($5::text[])[array_position($1::uuid[], j.job_id)],
        provider_message_id = coalesce(($6::text[])[array_position($1::uuid[], j.job_id)], j.provider_message_id)
    FROM chosen
    WHERE j.job_id = ANY (chosen.ids) AND (j.job_id BETWEEN $10 AND $11 OR j.job_id BETWEEN $12 AND $13)
    RETURNING j.job_id, (j.created_at AT TIME ZONE 'UTC')::date AS day, j.stream, j.campaign_id
), booked AS (
    INSERT INTO job_delta (day, stream, campaign_id, from_status, to_status, n)
    SELECT day, stream, campaign_id, $9, 'SENT', count(*) FROM moved GROUP BY 1, 2, 3
), told_booked AS (
    INSERT INTO event_ledger (day, n) SELECT day, count(*) FROM moved GROUP BY 1
)
SELECT job_id FROM moved;

-- name: book
-- The books of one recording: states changed ($1-$6) and events stored ($7, $8), both grouped.
WITH deltas AS (
    INSERT INTO job_delta (day, stream, campaign_id, from_status, to_status, n)
    SELECT * FROM unnest($1::date[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::bigint[])
)
INSERT INTO event_ledger (day, n) SELECT * FROM unnest($7::date[], $8::bigint[]);

-- name: suppress
-- Suppressions that events cause. A complaint never expires and never becomes less.
INSERT INTO email_suppression (address_key, scope, reason, source, added_at, job_id, note)
SELECT address_key, scope, reason, 'event', added_at, job_id, note
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::uuid[], $6::text[])
     AS s (address_key, scope, reason, added_at, job_id, note)
ORDER BY address_key, scope, reason
ON CONFLICT (address_key, scope, reason) DO UPDATE SET expires_at = NULL
WHERE email_suppression.expires_at IS NOT NULL;
