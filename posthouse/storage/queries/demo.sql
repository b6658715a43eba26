-- name: event_counts
-- Events by type and bounce class.
SELECT type, bounce_class, count(*) FROM email_event GROUP BY 1, 2;

-- name: status_counts
-- Jobs by status.
SELECT status, count(*) FROM email_job GROUP BY 1;

-- name: callbacks_waiting
SELECT count(*) FROM relay_inbox;

-- name: handover_milliseconds
-- From due (or accepted, if later) to the first answer of a relay, for one stream: the 99th percentile and
-- the longest. Milliseconds.
WITH first AS (
    SELECT extract(epoch FROM min(e.occurred_at) - greatest(j.created_at, coalesce(j.scheduled_at, j.created_at)))
           * 1000 AS ms
    FROM email_job j
    JOIN email_event e ON e.job_id = j.job_id AND e.origin = 'handover'
    WHERE j.stream = $1
    GROUP BY j.job_id, j.created_at, j.scheduled_at
)
SELECT coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY ms), 0)::float8, coalesce(max(ms), 0)::float8
FROM first;

-- name: progress
-- Mails sent and in hand by the books: cheap to ask while everything runs. $1: the stream.
SELECT coalesce(sum(CASE to_status WHEN 'SENT' THEN n ELSE 0 END
                  - CASE from_status WHEN 'SENT' THEN n ELSE 0 END), 0)::bigint,
       coalesce(sum(CASE to_status WHEN 'SENDING' THEN n ELSE 0 END
                  - CASE from_status WHEN 'SENDING' THEN n ELSE 0 END), 0)::bigint
FROM job_delta
WHERE stream = $1;

-- name: jobs_in_hand
-- Ids of jobs in a state, for a benchmark that plays the relay.
SELECT job_id FROM email_job WHERE status = $1 ORDER BY job_id;
