-- part: claim_picked
-- What becomes of the jobs that a claim has `picked`, and what it answers. $2: the worker; $3-$6: the spans in
-- which the ids are (storage/spans.py).
judged AS MATERIALIZED (
    SELECT p.job_id, p.status AS was, s.reason, s.scope, s.added_at
    FROM picked p
    LEFT JOIN LATERAL (
        SELECT reason, scope, added_at
        FROM email_suppression
        WHERE address_key = p.address_key
          AND (scope = 'all' OR scope = p.stream)
          AND (expires_at IS NULL OR expires_at > now())
        ORDER BY scope, reason
        LIMIT 1
    ) s ON true
), chosen AS MATERIALIZED (
    SELECT min(was) AS was, array_agg(job_id) AS ids,
           coalesce(array_agg(job_id) FILTER (WHERE reason IS NOT NULL), '{}') AS suppressed
    FROM judged
), claimed AS (
    UPDATE email_job j
    SET status = CASE WHEN j.expires_at <= now() THEN 'EXPIRED'
                      WHEN j.job_id = ANY (chosen.suppressed) THEN 'SUPPRESSED'
                      ELSE 'SENDING' END,
        attempt = j.attempt
                  + CASE WHEN j.expires_at <= now() OR j.job_id = ANY (chosen.suppressed) THEN 0 ELSE 1 END,
        claimed_by = $2
    FROM chosen
    WHERE j.job_id = ANY (chosen.ids) AND (j.job_id BETWEEN $3 AND $4 OR j.job_id BETWEEN $5 AND $6)
    RETURNING j.*, chosen.was
), told AS (
    INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin, reason)
    SELECT c.job_id, gen_random_uuid(), now(), c.attempt, lower(c.status), 'house',
           CASE WHEN c.status = 'EXPIRED'
                THEN format('not sent before it expired at %s', to_char(c.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
                ELSE format('the address is suppressed: %s, scope %s, since %s', judged.reason, judged.scope,
                            to_char(judged.added_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) END
    FROM claimed c
    LEFT JOIN judged ON judged.job_id = c.job_id AND judged.reason IS NOT NULL
    WHERE c.status <> 'SENDING'
    RETURNING job_id, event_id, type
), hooked AS (
    INSERT INTO webhook_event (job_id, event_id)
    SELECT job_id, event_id FROM told WHERE type = ANY (ARRAY(SELECT type FROM webhook_interest))
), told_booked AS (
    INSERT INTO event_ledger (day, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, count(*) FROM claimed WHERE status <> 'SENDING' GROUP BY 1
), booked AS (
    INSERT INTO job_delta (day, stream, campaign_id, from_status, to_status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, stream, campaign_id, was, status, count(*)
    FROM claimed
    GROUP BY 1, 2, 3, 4, 5
)
SELECT job_id, message_id, stream, attempt, status, to_address, address_key, from_address, subject,
       c.template_id, coalesce(template_version, newest.version), template_vars, content_id, addressing, headers,
       campaign_id, tracked, due_at, expires_at, deaths, sandbox
FROM claimed c
LEFT JOIN LATERAL (
    SELECT version
    FROM email_template_version v
    WHERE v.template_id = c.template_id AND c.template_version IS NULL AND v.published_at IS NOT NULL
    ORDER BY version DESC
    LIMIT 1
) newest ON true
ORDER BY due_at;

-- name: claim_{limit}
-- for limit in 1 10 32 100 500
-- Takes due jobs of a stream for one worker; suppressed and expired ones end here, in the same statement, and
-- are told apart by their status. A job that names no version of its template gets the newest published one
-- here, so that whoever composes it needs no question of its own for each claim.
--
-- The LIMIT is a literal: as a parameter it made a hash join over all partitions (0.5 s against 4.5 ms). The
-- suppressions are looked up for the picked ids only: as an anti-join inside the pick the planner read all
-- 200,000 of them and the backlog for every claim. $7 is the floor below which lie only the dead index
-- entries of earlier claims, $3-$6 are the days that have due jobs; every second one claim looks at everything.
WITH picked AS MATERIALIZED (
    SELECT job_id, status, stream, address_key, expires_at
    FROM email_job
    WHERE status = 'PENDING' AND stream = $1 AND due_at <= now() AND due_at >= $7 AND deaths < 2
      AND (job_id BETWEEN $3 AND $4 OR job_id BETWEEN $5 AND $6)
    ORDER BY due_at
    LIMIT {limit}
    FOR NO KEY UPDATE SKIP LOCKED
),
-- use: claim_picked

-- name: claim_quarantined
-- One job of a stream that two workers died of, for the process that handles such jobs alone.
WITH picked AS MATERIALIZED (
    SELECT job_id, status, stream, address_key, expires_at
    FROM email_job
    WHERE status = 'PENDING' AND deaths >= 2 AND stream = $1 AND due_at <= now()
    ORDER BY due_at
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
),
-- use: claim_picked

-- name: claim_queued
-- Claims the jobs that a topic's records name. $1: the stream; $2: the worker; $7: QUEUED, a parameter so that
-- the planner goes by the ids; $8, $9: ids and attempts, within the spans $3-$6. What does not fit, or is locked,
-- is left alone and missing from the answer. So is an id that stands twice under the later attempt, until it is
-- looked at again.
WITH picked AS MATERIALIZED (
    SELECT j.job_id, j.status, j.stream, j.address_key, j.expires_at
    FROM email_job j
    WHERE j.job_id = ANY ($8::uuid[]) AND (j.job_id BETWEEN $3 AND $4 OR j.job_id BETWEEN $5 AND $6)
      AND j.attempt = ($9::int[])[array_position($8::uuid[], j.job_id)]
      AND j.status = $7 AND j.stream = $1 AND j.due_at <= now()
    ORDER BY j.job_id
    FOR NO KEY UPDATE OF j SKIP LOCKED
),
-- use: claim_picked

-- name: standing_of
-- Where jobs stand that could not be claimed. $2, $3: lowest and highest id.
SELECT job_id, stream, status, attempt FROM email_job
WHERE job_id = ANY($1::uuid[]) AND job_id >= $2 AND job_id <= $3;

-- name: quarantine_waiting
-- Whether the quarantine process has anything to do.
SELECT EXISTS (
    SELECT FROM email_job WHERE status = 'PENDING' AND deaths >= 2 AND stream = $1 AND due_at <= now()
);

-- name: release_jobs
-- Gives back jobs whose hand-over was not begun. $1, $2: ids and attempts; $3: the worker; $4: a later
-- due_at or null; $5: SENDING, a parameter because a
-- literal made the planner read the whole pending index.
WITH held AS MATERIALIZED (
    SELECT j.job_id
    FROM unnest($1::uuid[], $2::int[]) AS h (job_id, attempt)
    JOIN email_job j ON j.job_id = h.job_id
    WHERE j.attempt = h.attempt AND j.claimed_by = $3 AND j.status = $5
    ORDER BY j.job_id
    FOR NO KEY UPDATE OF j
), released AS (
    UPDATE email_job j
    SET status = 'PENDING', due_at = coalesce($4, j.due_at)
    FROM held
    WHERE j.job_id = held.job_id
    RETURNING j.created_at, j.stream, j.campaign_id
), booked AS (
    INSERT INTO job_delta (day, stream, campaign_id, from_status, to_status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, stream, campaign_id, $5, 'PENDING', count(*)
    FROM released
    GROUP BY 1, 2, 3
)
SELECT count(*) FROM released;

-- name: claimed_by
-- What stands as claimed for a worker.
SELECT job_id, attempt FROM email_job WHERE status = 'SENDING' AND claimed_by = $1 ORDER BY job_id;

-- name: as_claimed
-- One job as a claim would give it to a worker, whatever its state: to see what it is composed to.
SELECT job_id, message_id, stream, attempt, 'SENDING' AS status, to_address, address_key, from_address, subject,
       j.template_id, coalesce(template_version, newest.version), template_vars, content_id, addressing, headers,
       campaign_id, tracked, due_at, expires_at, deaths, sandbox
FROM email_job j
LEFT JOIN LATERAL (
    SELECT version
    FROM email_template_version v
    WHERE v.template_id = j.template_id AND j.template_version IS NULL AND v.published_at IS NOT NULL
    ORDER BY version DESC
    LIMIT 1
) newest ON true
WHERE job_id = $1;

-- name: contents
-- Bodies of mails that brought their own. $2, $3: lowest and highest id.
SELECT content_id, html, text, attachments FROM email_content
WHERE content_id = ANY($1::uuid[]) AND content_id >= $2 AND content_id <= $3;

-- name: template_versions
-- Versions of templates. $1, $2: template and version pairs.
SELECT v.template_id, t.key, v.version, v.subject_template, v.html_template, v.text_template, v.variables,
       v.tracked
FROM unnest($1::int[], $2::int[]) AS wanted (template_id, version)
JOIN email_template_version v ON v.template_id = wanted.template_id AND v.version = wanted.version
JOIN email_template t ON t.template_id = v.template_id;
