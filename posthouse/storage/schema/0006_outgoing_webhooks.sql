-- Webhooks to applications (docs/adr/0023): endpoints, events that wait to be told, what is told, and to whom.

CREATE TABLE webhook_endpoint (
    endpoint_id          uuid PRIMARY KEY,
    url                  text NOT NULL,
    description          text NOT NULL DEFAULT '',
    event_names          text[] NOT NULL CHECK (event_names <> '{}'),  -- as they are told: email.bounced
    event_types          text[] NOT NULL,        -- the types of email_event that these are made from
    stream               text CHECK (stream IN ('transactional', 'marketing')),  -- null: both
    from_domains         text[] NOT NULL,        -- empty: every domain
    tags                 jsonb NOT NULL DEFAULT '[]',  -- a mail must have them all
    sandbox              boolean NOT NULL,       -- made with a test key: sees sandboxed mail, and no other
    secret               bytea NOT NULL,         -- sealed under the house's key
    previous_secret      bytea,
    previous_until       timestamptz,            -- until then both secrets sign
    created_at           timestamptz NOT NULL,
    status               text NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled')),
    disabled_at          timestamptz,
    disabled_reason      text,
    failing_since        timestamptz,            -- null: the last answer was a success
    last_error           text,
    not_before           timestamptz NOT NULL DEFAULT '-infinity',  -- it asked for a pause (Retry-After)
    redeliver_after      uuid,                   -- a redelivery is under way: it is done up to this message
    redeliver_until      uuid,
    redeliver_failed     boolean NOT NULL DEFAULT false  -- only what failed
);

-- Which events anybody wants. Who stores events asks it once for each set; without endpoints it is empty.
CREATE VIEW webhook_interest AS
SELECT DISTINCT unnest(event_types) AS type FROM webhook_endpoint WHERE status = 'enabled';

-- Written in the transaction of the event, taken away in the one that makes its deliveries.
CREATE TABLE webhook_event (
    webhook_event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id           uuid NOT NULL,
    event_id         uuid NOT NULL
);

-- What is told, once whatever the number of endpoints: its bytes are the same in each attempt.
CREATE TABLE webhook_message (
    message_id uuid PRIMARY KEY,                 -- UUIDv7 of when it was made: its order and its age
    body       text NOT NULL
);

CREATE TABLE webhook_delivery (
    endpoint_id uuid NOT NULL,
    message_id  uuid NOT NULL,
    name        text NOT NULL,
    job_id      uuid,                            -- null: a test
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sending', 'delivered', 'failed')),
    due_at      timestamptz NOT NULL,            -- of one that is being sent: when it is taken for lost
    attempt     integer NOT NULL DEFAULT 0,      -- only rises: the fence of its answers
    tries       smallint NOT NULL DEFAULT 0,     -- its place in the retry list
    PRIMARY KEY (endpoint_id, message_id)
) WITH (fillfactor = 80);
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, due_at) WHERE state IN ('pending', 'sending');
CREATE INDEX webhook_delivery_open ON webhook_delivery (endpoint_id, message_id) WHERE state <> 'delivered';
CREATE INDEX webhook_delivery_message ON webhook_delivery (message_id);

-- The delivery log: each attempt and its answer.
CREATE TABLE webhook_attempt (
    message_id  uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    attempt     integer NOT NULL,
    at          timestamptz NOT NULL,
    ms          integer NOT NULL,
    http_status smallint,                        -- null: no answer
    error       text NOT NULL,                   -- why it was no success, in words; empty: it was
    response    text NOT NULL,                   -- the first bytes of the answer
    PRIMARY KEY (message_id, endpoint_id, attempt)
);
