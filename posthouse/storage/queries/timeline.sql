-- name: mail_jobs
-- The recipients of a message, or the one recipient whose id it is. $2, $3: bounds of the millisecond in which
-- they were made (prunes partitions).
SELECT j.job_id, j.message_id, j.stream, j.status, j.to_address, j.from_address, j.subject, t.key,
       j.template_version, j.addressing, j.tags, j.metadata, j.relay, j.provider_message_id, j.created_at,
       j.due_at, j.scheduled_at, j.expires_at, j.expiry_given, j.attempt, j.sandbox, j.sent_at, j.opened_at,
       j.clicked_at, j.complained_at, j.unsubscribed_at
FROM email_job j
LEFT JOIN email_template t ON t.template_id = j.template_id
WHERE (j.job_id = $1 OR j.message_id = $1) AND j.job_id >= $2 AND j.job_id < $3
ORDER BY j.job_id;

-- name: mail_events
-- Oldest first. $2, $3: bounds of the millisecond in which the jobs were made; $4 to $7: the event that the page
-- before ended with, or what comes before every event.
SELECT job_id, event_id, type, origin, attempt, occurred_at, received_at, bounce_class, reason, relay,
       provider_message_id, smtp_code, enhanced_code, diagnostic, url, user_agent, machine, template_version
FROM email_event
WHERE job_id = ANY($1::uuid[]) AND job_id >= $2 AND job_id < $3
  AND (occurred_at, received_at, job_id, event_id) > ($4, $5, $6, $7)
ORDER BY occurred_at, received_at, job_id, event_id
LIMIT $8;
