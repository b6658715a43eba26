-- Events on their way to the event stream (docs/adr/0024). Written with the event, taken away when the stream has it.
CREATE TABLE event_outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id    uuid NOT NULL,
    event_id  uuid NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0.02);

CREATE FUNCTION put_events_by() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_outbox (job_id, event_id) SELECT job_id, event_id FROM stored;
    RETURN NULL;
END $$;

-- Whether events are put by is whether the trigger is there: a house without an event stream pays nothing, and no
-- process can be wrong about it.
CREATE FUNCTION events_are_put_by() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM pg_trigger
                   WHERE tgrelid = 'email_event'::regclass AND tgname = 'event_outbox' AND NOT tgisinternal)
$$;

-- The lock waits for everybody who is storing events, and makes others wait meanwhile: for a second at most.
CREATE FUNCTION put_events_by(wanted boolean) RETURNS void LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
BEGIN
    IF events_are_put_by() = wanted THEN
        RETURN;
    END IF;
    LOCK TABLE email_event IN SHARE ROW EXCLUSIVE MODE;
    IF events_are_put_by() THEN
        IF NOT wanted THEN
            DROP TRIGGER event_outbox ON email_event;
            TRUNCATE event_outbox;
        END IF;
    ELSIF wanted THEN
        CREATE TRIGGER event_outbox AFTER INSERT ON email_event REFERENCING NEW TABLE AS stored
            FOR EACH STATEMENT EXECUTE FUNCTION put_events_by();
    END IF;
END $$;
