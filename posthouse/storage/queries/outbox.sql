-- name: put_events_by
SELECT put_events_by($1);

-- name: events_are_put_by
SELECT events_are_put_by();

-- name: take_outgoing_events
-- The oldest that nobody else has in hand, with all that the stream is told of them; gone when the transaction
-- commits, which is after the stream has them. A row is seen when it is committed, so there is no cursor that a
-- late commit could land behind. One whose day was dropped meanwhile goes without a trace.
WITH taken AS MATERIALIZED (
    SELECT outbox_id, job_id, event_id
    FROM event_outbox
    ORDER BY outbox_id
    LIMIT 500
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM event_outbox o USING taken WHERE o.outbox_id = taken.outbox_id
)
SELECT e.event_id, e.job_id, j.message_id, e.type, e.occurred_at, e.received_at, e.attempt, e.origin, j.stream,
       j.to_address, split_part(j.address_key, '@', 2), j.campaign_id, t.key, e.template_version, j.tags,
       j.metadata, j.sandbox, e.relay, e.provider_message_id, e.bounce_class, e.smtp_code, e.enhanced_code,
       nullif(e.diagnostic, ''), nullif(e.reason, ''), e.url, e.user_agent, e.machine
FROM taken
JOIN email_event e ON e.job_id = taken.job_id AND e.event_id = taken.event_id
JOIN email_job j ON j.job_id = taken.job_id
LEFT JOIN email_template t ON t.template_id = j.template_id
ORDER BY taken.outbox_id;

-- name: oldest_outgoing_event
-- For how many seconds the event that waits longest has waited; null when none does.
SELECT extract(epoch FROM clock_timestamp() - stored_at)::float8
FROM event_outbox
ORDER BY outbox_id
LIMIT 1;
