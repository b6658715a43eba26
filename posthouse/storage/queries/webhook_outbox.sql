-- name: take_waiting_events
-- Up to $1 events that wait to be told, oldest first, with all that is told of them. They are gone when the
-- transaction commits that has made their deliveries. Each id prunes its own partition; the join is a left one
-- so that an event whose day was dropped meanwhile does not wait for ever.
WITH taken AS MATERIALIZED (
    SELECT webhook_event_id, job_id, event_id
    FROM webhook_event
    ORDER BY webhook_event_id
    LIMIT $1
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM webhook_event w USING taken WHERE w.webhook_event_id = taken.webhook_event_id
)
SELECT taken.job_id, taken.event_id, j.message_id, j.stream, j.from_address, j.to_address, j.subject, j.tags,
       j.metadata, j.created_at, j.scheduled_at, j.sandbox, e.type, e.occurred_at, e.attempt, e.bounce_class,
       e.reason, e.relay, e.provider_message_id, e.smtp_code, e.enhanced_code, e.diagnostic, e.url,
       e.user_agent, e.machine
FROM taken
LEFT JOIN email_event e ON e.job_id = taken.job_id AND e.event_id = taken.event_id
LEFT JOIN email_job j ON j.job_id = taken.job_id
ORDER BY taken.webhook_event_id;

-- name: insert_notices
-- Messages and who is told them: $4 to $8 are the deliveries, in key order.
WITH told AS (
    INSERT INTO webhook_message (message_id, body)
    SELECT * FROM unnest($1::uuid[], $2::text[])
)
INSERT INTO webhook_delivery (endpoint_id, message_id, name, job_id, due_at)
SELECT d.*, $3 FROM unnest($4::uuid[], $5::uuid[], $6::text[], $7::uuid[]) AS d;

-- name: forget_notices
-- The oldest $2 messages made before the one that $1 would be, with their deliveries and attempts: one that
-- nobody took by then is given up.
WITH old AS MATERIALIZED (
    SELECT message_id FROM webhook_message WHERE message_id < $1 ORDER BY message_id LIMIT $2
    FOR UPDATE SKIP LOCKED
), attempts AS (
    DELETE FROM webhook_attempt a USING old WHERE a.message_id = old.message_id
), deliveries AS (
    DELETE FROM webhook_delivery d USING old WHERE d.message_id = old.message_id
)
DELETE FROM webhook_message m USING old WHERE m.message_id = old.message_id;
