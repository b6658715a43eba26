-- A list is walked in steps: ids of one source, then `listed_jobs` for what the rest of the filter leaves of
-- them. Ids come out of an index in their order, day after day, and no further than a step needs.

-- name: hold_planner
-- For this transaction. Planned once for all days, which days are read is decided when the statement starts:
-- planned anew, each statement costs milliseconds over 45 days. What could read a whole day is switched off.
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_bitmapscan', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true);

-- name: ids_by_term_older
-- $1: a term (storage/terms.py); $2, $3: the first id and the end of the span.
SELECT job_id FROM email_term WHERE term = $1 AND job_id >= $2 AND job_id < $3 ORDER BY job_id DESC LIMIT $4;

-- name: ids_by_term_newer
SELECT job_id FROM email_term WHERE term = $1 AND job_id >= $2 AND job_id < $3 ORDER BY job_id LIMIT $4;

-- name: ids_of_all_older
SELECT job_id FROM email_job WHERE job_id >= $1 AND job_id < $2 ORDER BY job_id DESC LIMIT $3;

-- name: ids_of_all_newer
SELECT job_id FROM email_job WHERE job_id >= $1 AND job_id < $2 ORDER BY job_id LIMIT $3;

-- name: ids_by_end_older
-- $1: statuses, each of them in index email_job_ended: the literal list is what lets the planner use it. One
-- walk for each status, since only within one do ids stand in their order.
SELECT found.job_id
FROM unnest($1::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT j.job_id
    FROM email_job j
    WHERE j.status = wanted.status
      AND j.status IN ('UNKNOWN', 'BOUNCED', 'FAILED', 'SUPPRESSED', 'CANCELLED', 'EXPIRED')
      AND j.job_id >= $2 AND j.job_id < $3
    ORDER BY j.job_id DESC
    LIMIT $4
) AS found
ORDER BY found.job_id DESC
LIMIT $4;

-- name: ids_by_end_newer
SELECT found.job_id
FROM unnest($1::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT j.job_id
    FROM email_job j
    WHERE j.status = wanted.status
      AND j.status IN ('UNKNOWN', 'BOUNCED', 'FAILED', 'SUPPRESSED', 'CANCELLED', 'EXPIRED')
      AND j.job_id >= $2 AND j.job_id < $3
    ORDER BY j.job_id
    LIMIT $4
) AS found
ORDER BY found.job_id
LIMIT $4;

-- name: ids_waiting
-- Jobs of a stream that wait for their turn, those that are due first, by the queue's own index.
SELECT job_id FROM email_job WHERE status = 'PENDING' AND stream = $1 ORDER BY due_at LIMIT $2;

-- name: ids_in_hand
-- Jobs that workers hold: a few at any time.
SELECT job_id FROM email_job WHERE status = 'SENDING' ORDER BY claimed_by LIMIT $1;

-- name: listed_jobs
-- What the filter leaves of some ids ($1, between $2 and $3: prunes partitions). States and streams are
-- parameters: as literals they would make the planner read the queue's index for each id.
SELECT j.job_id, j.message_id, j.stream, j.status, j.to_address, j.from_address, j.subject, t.key,
       j.template_version, j.addressing, j.tags, j.metadata, j.relay, j.provider_message_id, j.created_at,
       j.due_at, j.scheduled_at, j.expires_at, j.expiry_given, j.attempt, j.sandbox, j.sent_at, j.opened_at,
       j.clicked_at, j.complained_at, j.unsubscribed_at
FROM email_job j
LEFT JOIN email_template t ON t.template_id = j.template_id
WHERE j.job_id = ANY($1::uuid[]) AND j.job_id >= $2 AND j.job_id <= $3
  AND j.sandbox = $4
  AND j.stream = ANY($5::text[])
  AND ($6::text[] IS NULL OR j.status = ANY($6))
  AND ($7::text IS NULL OR j.address_key = $7)
  AND ($8::jsonb IS NULL OR j.tags @> $8)
  AND ($9::uuid IS NULL OR j.campaign_id = $9)
  AND ($10::int IS NULL OR j.template_id = $10)
  AND ($11::text[] IS NULL OR rtrim(substring(j.from_address FROM '[^@]*$'), '>') = ANY($11));
