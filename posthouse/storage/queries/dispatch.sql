-- name: queue_{limit}
-- for limit in 1 10 100 1000
-- Takes due jobs of a stream out of the table for its topic: QUEUED, in a dispatch of their own ($2). The LIMIT is
-- a literal, $7 is a floor and $3-$6 are spans for the reasons told at claim. What two workers died of stays for
-- quarantine.
WITH picked AS MATERIALIZED (
    SELECT job_id
    FROM email_job
    WHERE status = 'PENDING' AND stream = $1 AND due_at <= now() AND due_at >= $7 AND deaths < 2
      AND (job_id BETWEEN $3 AND $4 OR job_id BETWEEN $5 AND $6)
    ORDER BY due_at
    LIMIT {limit}
    FOR NO KEY UPDATE SKIP LOCKED
), chosen AS MATERIALIZED (
    SELECT array_agg(job_id) AS ids FROM picked
), queued AS (
    UPDATE email_job j
    SET status = 'QUEUED', claimed_by = $2
    FROM chosen
    WHERE j.job_id = ANY (chosen.ids) AND (j.job_id BETWEEN $3 AND $4 OR j.job_id BETWEEN $5 AND $6)
    RETURNING j.job_id, j.attempt, j.due_at, j.created_at, j.stream, j.campaign_id
), booked AS (
    INSERT INTO job_delta (day, stream, campaign_id, from_status, to_status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, stream, campaign_id, 'PENDING', 'QUEUED', count(*)
    FROM queued
    GROUP BY 1, 2, 3
), kept AS (
    INSERT INTO dispatch (dispatch_id, stream, job_ids)
    SELECT $2, $1, array_agg(job_id ORDER BY job_id) FROM queued HAVING count(*) > 0
)
SELECT job_id, attempt, due_at FROM queued ORDER BY due_at;

-- name: place_dispatch
-- Every record of a dispatch is in the topic. A dispatch that was given up meanwhile is not there any more.
UPDATE dispatch SET topic_id = $2, partitions = $3, last_offsets = $4 WHERE dispatch_id = $1;

-- name: unplaced_dispatches
-- Dispatches of a stream that nobody can be producing any more: queued longer than $2 seconds ago.
SELECT dispatch_id FROM dispatch
WHERE stream = $1 AND topic_id IS NULL AND queued_at < clock_timestamp() - make_interval(secs => $2)
ORDER BY queued_at
LIMIT 100;

-- name: placed_dispatches
-- Dispatches of a stream whose records are in a topic, oldest first.
SELECT dispatch_id, topic_id, partitions, last_offsets FROM dispatch
WHERE stream = $1 AND topic_id IS NOT NULL
ORDER BY queued_at
LIMIT 500;

-- name: all_dispatches
-- For a house that has no Kafka any more.
SELECT dispatch_id FROM dispatch ORDER BY queued_at LIMIT 100;

-- name: close_dispatches
-- Dispatches that are over, and the jobs they had; what another closes at this moment is left to him.
WITH ended AS MATERIALIZED (
    SELECT dispatch_id FROM dispatch
    WHERE dispatch_id = ANY($1::uuid[])
    ORDER BY dispatch_id
    FOR UPDATE SKIP LOCKED
)
DELETE FROM dispatch d USING ended WHERE d.dispatch_id = ended.dispatch_id RETURNING d.dispatch_id, d.job_ids;

-- name: unqueue_jobs
-- What is still QUEUED under its dispatch becomes PENDING again, due as it was. $1, $2: ids, and the dispatch of
-- each; $3: QUEUED, a parameter so that the planner goes by the ids. Returns how many.
WITH stranded AS MATERIALIZED (
    SELECT j.job_id
    FROM unnest($1::uuid[], $2::uuid[]) AS d (job_id, dispatch_id)
    JOIN email_job j ON j.job_id = d.job_id
    WHERE j.claimed_by = d.dispatch_id AND j.status = $3
    ORDER BY j.job_id
    FOR NO KEY UPDATE OF j
), back AS (
    UPDATE email_job j
    SET status = 'PENDING'
    FROM stranded
    WHERE j.job_id = stranded.job_id
    RETURNING j.created_at, j.stream, j.campaign_id
), booked AS (
    INSERT INTO job_delta (day, stream, campaign_id, from_status, to_status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, stream, campaign_id, $3, 'PENDING', count(*)
    FROM back
    GROUP BY 1, 2, 3
)
SELECT count(*) FROM back;

-- name: queue_flow
-- From the books: how many jobs of a stream are QUEUED now, and how many workers ever took.
SELECT coalesce(sum(CASE WHEN to_status = 'QUEUED' THEN n ELSE -n END), 0)::bigint,
       coalesce(sum(n) FILTER (WHERE from_status = 'QUEUED' AND to_status <> 'PENDING'), 0)::bigint
FROM job_delta
WHERE stream = $1 AND (from_status = 'QUEUED' OR to_status = 'QUEUED');
