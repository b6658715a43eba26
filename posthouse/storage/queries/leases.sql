-- name: enlist_worker
INSERT INTO worker (instance_id, role, stream, host, pid) VALUES ($1, $2, $3, $4, $5);

-- name: beat
-- Returns nothing for a worker that was declared dead: it must end.
UPDATE worker SET beat_at = clock_timestamp() WHERE instance_id = $1 AND dead_at IS NULL RETURNING beat_at;

-- name: retire_worker
-- A clean stop: nothing is held any more.
UPDATE worker SET dead_at = clock_timestamp() WHERE instance_id = $1 AND dead_at IS NULL;

-- name: living_workers
SELECT instance_id, beat_at FROM worker WHERE dead_at IS NULL;

-- name: bury_worker
-- Only if it still has not beaten since it was last looked at.
UPDATE worker SET dead_at = clock_timestamp()
WHERE instance_id = $1 AND beat_at = $2 AND dead_at IS NULL
RETURNING role, stream, host, pid;

-- name: ended_workers
SELECT instance_id FROM worker WHERE dead_at IS NOT NULL;

-- name: held_by
-- What these workers hold, locked in key order.
SELECT job_id, attempt, stream, deaths
FROM email_job
WHERE status = 'SENDING' AND claimed_by = ANY($1::uuid[])
ORDER BY job_id
FOR NO KEY UPDATE;

-- name: count_deaths
-- $2, $3: lowest and highest id.
UPDATE email_job SET deaths = deaths + 1
WHERE job_id = ANY($1::uuid[]) AND job_id >= $2 AND job_id <= $3;

-- name: doubts_due
-- Unknown outcomes whose time has come; in_doubt says that one was held for the operator before. Locked in no
-- order of keys, so it must not wait: what another has locked he is settling. $1: streams whose relays are
-- asked first (doubts_to_ask); the sandbox is nobody that could be asked.
SELECT job_id, attempt, stream, in_doubt, sandbox, no_repeat
FROM email_job
WHERE status = 'UNKNOWN' AND due_at <= now() AND (sandbox OR stream <> ALL ($1::text[]))
ORDER BY due_at
LIMIT 500
FOR NO KEY UPDATE SKIP LOCKED;

-- name: doubts_to_ask
-- Unknown outcomes whose time has come, of streams ($1) whose relays can be asked. Where a mail went is what its
-- attempt's own event says: the job's relay may be that of an earlier attempt.
SELECT j.job_id, j.attempt, j.stream, j.to_address, doubt.relay, coalesce(doubt.occurred_at, j.due_at)
FROM (
    SELECT job_id, attempt, stream, to_address, due_at
    FROM email_job
    WHERE status = 'UNKNOWN' AND due_at <= now() AND NOT sandbox AND stream = ANY ($1::text[])
    ORDER BY due_at
    LIMIT 100
) j
LEFT JOIN LATERAL (
    SELECT e.relay, e.occurred_at
    FROM email_event e
    WHERE e.job_id = j.job_id AND e.attempt = j.attempt AND e.type = 'outcome_unknown'
    ORDER BY e.occurred_at
    LIMIT 1
) doubt ON true;

-- name: lock_doubts
-- Those of these jobs that are in UNKNOWN ($4, a parameter so that the planner goes by the ids), locked in key
-- order. $2, $3: lowest and highest id.
SELECT job_id, attempt, stream, in_doubt, sandbox, no_repeat
FROM email_job
WHERE job_id = ANY ($1::uuid[]) AND job_id >= $2 AND job_id <= $3 AND status = $4
ORDER BY job_id
FOR NO KEY UPDATE;

-- name: hold_doubts
-- Held for the operator: looked at again only when their time is up. $2, $3: lowest and highest id; $5:
-- UNKNOWN, a parameter so that the planner goes by the ids.
WITH locked AS MATERIALIZED (
    SELECT job_id FROM email_job
    WHERE job_id = ANY($1::uuid[]) AND job_id >= $2 AND job_id <= $3 AND status = $5
    ORDER BY job_id
    FOR NO KEY UPDATE
)
UPDATE email_job j SET due_at = $4, in_doubt = true
FROM locked
WHERE j.job_id = locked.job_id;

-- name: forget_workers
DELETE FROM worker WHERE dead_at < now() - interval '7 days';
