-- name: reschedule_jobs
-- A new time for locked jobs that wait. An expiry that was only the stream's default keeps
-- its distance. $2, $3: lowest and highest id; $4: when they are due; $5: the time as it was asked for, null
-- for now.
UPDATE email_job
SET status = 'PENDING',
    due_at = $4::timestamptz,
    scheduled_at = $5,
    expires_at = CASE WHEN expiry_given THEN expires_at ELSE $4::timestamptz + (expires_at - due_at) END
WHERE job_id = ANY($1::uuid[]) AND job_id >= $2 AND job_id <= $3;

-- name: forbid_repeat
-- Locked jobs that are in hand or in doubt. $2, $3: lowest and highest id.
UPDATE email_job SET no_repeat = true
WHERE job_id = ANY($1::uuid[]) AND job_id >= $2 AND job_id <= $3;
