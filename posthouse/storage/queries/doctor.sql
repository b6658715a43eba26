-- name: server_version
SELECT current_setting('server_version');

-- name: longest_due
-- For how many seconds the job that waits longest in each stream has been due.
SELECT stream.name,
       extract(epoch FROM clock_timestamp() - (
           SELECT due_at FROM email_job
           WHERE status = 'PENDING' AND stream = stream.name AND due_at <= now()
           ORDER BY due_at LIMIT 1))::float8
FROM unnest($1::text[]) AS stream (name);

-- name: oldest_dispatched
-- The jobs of a stream that were dispatched first and are not all done with. Each set is spread over all
-- partitions, so whatever of them a worker does not read is among these.
SELECT unnest(job_ids) FROM (
    SELECT job_ids FROM dispatch WHERE stream = $1 ORDER BY queued_at LIMIT 10
) AS oldest;

-- name: longest_queued
-- For how many seconds the job that waits longest of some has been due and QUEUED; null when none is. $2, $3:
-- lowest and highest id.
SELECT extract(epoch FROM clock_timestamp() - min(due_at))::float8
FROM email_job
WHERE job_id = ANY($1::uuid[]) AND job_id >= $2 AND job_id <= $3 AND status = 'QUEUED';

-- name: orphaned_jobs
-- Jobs in hand of a worker that is dead or that nobody knows.
SELECT count(*)
FROM email_job j
WHERE j.status = 'SENDING'
  AND NOT EXISTS (SELECT FROM worker w WHERE w.instance_id = j.claimed_by AND w.dead_at IS NULL);

-- name: doubts
-- Unknown outcomes: all, and those whose time to be settled has passed by a minute.
SELECT count(*), count(*) FILTER (WHERE due_at < now() - interval '1 minute')
FROM email_job
WHERE status = 'UNKNOWN';

-- name: silent_workers
-- Workers that are not declared dead and have not beaten for longer than a lease.
SELECT role, host, pid FROM worker
WHERE dead_at IS NULL AND beat_at < clock_timestamp() - make_interval(secs => $1)
ORDER BY role, host, pid;

-- name: oldest_callback
-- For how many seconds the relay callback that waits longest has waited; null when none does.
SELECT extract(epoch FROM clock_timestamp() - min(received_at))::float8
FROM relay_inbox
WHERE not_before <= now();

-- name: valid_keys
SELECT count(*) FROM api_key WHERE revoked_at IS NULL;
