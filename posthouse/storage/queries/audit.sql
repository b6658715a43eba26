-- name: audited_jobs
-- A page of all jobs, by id. $1: the last id of the page before.
SELECT job_id, status, sandbox FROM email_job WHERE job_id > $1 ORDER BY job_id LIMIT $2;

-- name: audited_events
-- A page of what explains that a mail arrived again, that it did not arrive, or that it ended.
SELECT job_id, event_id, attempt, type, bounce_class, origin,
       coalesce(nullif(reason, ''), diagnostic, '') <> '' AS reasoned
FROM email_event
WHERE job_id >= $1 AND (job_id, event_id) > ($1, $2)  -- the first half prunes partitions
  AND type IN ('outcome_unknown', 'deferred', 'bounced', 'rejected', 'failed', 'suppressed', 'cancelled',
               'expired')
ORDER BY job_id, event_id
LIMIT $3;
