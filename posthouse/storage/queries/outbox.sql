-- name: put_events_by
SELECT put_events_by($1);

-- name: events_are_put_by
SELECT events_are_put_by();

-- name: take_outgoing_events
-- The oldest that nobody else has in hand; gone when the transaction commits, which is after the stream has them. A
-- row is seen when it is committed, so there is no cursor that a late commit could land behind.
WITH taken AS MATERIALIZED (
    SELECT outbox_id FROM event_outbox
    ORDER BY outbox_id
    LIMIT 500
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM event_outbox o USING taken WHERE o.outbox_id = taken.outbox_id
    RETURNING o.outbox_id, o.job_id, o.event_id
)
SELECT job_id, event_id FROM gone ORDER BY outbox_id;

-- name: outgoing_events
-- All that the stream is told of events ($1: their jobs, $2: themselves), in the order given; $3-$6: the spans of the
-- jobs. One whose day was dropped meanwhile goes without a trace.
SELECT e.event_id, e.job_id, j.message_id, e.type, e.occurred_at, e.received_at, e.attempt, e.origin, j.stream,
       j.to_address, split_part(j.address_key, '@', 2), j.campaign_id, t.key, e.template_version, j.tags,
       j.metadata, j.sandbox, e.relay, e.provider_message_id, e.bounce_class, e.smtp_code, e.enhanced_code,
       nullif(e.diagnostic, ''), nullif(e.reason, ''), e.url, e.user_agent, e.machine
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS taken (job_id, event_id, place)
JOIN email_event e ON e.job_id = taken.job_id AND e.event_id = taken.event_id
                  AND (e.job_id BETWEEN $3 AND $4 OR e.job_id BETWEEN $5 AND $6)
JOIN email_job j ON j.job_id = taken.job_id AND (j.job_id BETWEEN $3 AND $4 OR j.job_id BETWEEN $5 AND $6)
LEFT JOIN email_template t ON t.template_id = j.template_id
ORDER BY taken.place;

-- name: oldest_outgoing_event
-- For how many seconds the event that waits longest has waited; null when none does.
SELECT extract(epoch FROM clock_timestamp() - stored_at)::float8
FROM event_outbox
ORDER BY outbox_id
LIMIT 1;
