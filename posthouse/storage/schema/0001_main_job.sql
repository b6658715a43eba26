-- The tables of the main job (docs/architecture.md). Jobs, events and contents are partitioned by day through
-- their id; partitions are made at run time (storage/partitions.py), there is no default partition.

CREATE TABLE api_key (
    api_key_id   uuid PRIMARY KEY,
    name         text NOT NULL,
    key_hash     bytea NOT NULL UNIQUE,          -- SHA-256 of a 256-bit random key: nothing to brute-force
    stream       text CHECK (stream IN ('transactional', 'marketing')),  -- null: both
    from_domains text[] NOT NULL,                -- empty: every domain of the streams it may use
    created_at   timestamptz NOT NULL DEFAULT now(),
    revoked_at   timestamptz
);

CREATE TABLE idempotency_key (
    api_key_id uuid NOT NULL REFERENCES api_key,
    key        text NOT NULL,
    body_hash  bytea NOT NULL,
    response   bytea NOT NULL,                   -- the 202 body, byte for byte
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (api_key_id, key)
);
CREATE INDEX idempotency_key_age ON idempotency_key (created_at);

CREATE TABLE email_template (
    template_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         text NOT NULL UNIQUE,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE email_template_version (
    template_id      integer NOT NULL REFERENCES email_template,
    version          integer NOT NULL,
    subject_template text NOT NULL,
    html_template    text,
    text_template    text,
    variables        jsonb NOT NULL DEFAULT '[]',
    tracked          boolean NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now(),
    published_at     timestamptz,                -- null: a draft
    PRIMARY KEY (template_id, version),
    CHECK (html_template IS NOT NULL OR text_template IS NOT NULL)
);

CREATE TABLE email_suppression (
    address_key text NOT NULL,
    scope       text NOT NULL CHECK (scope IN ('all', 'marketing')),
    reason      text NOT NULL CHECK (reason IN ('BOUNCE', 'SPAM', 'UNSUBSCRIBE', 'MANUAL')),
    source      text NOT NULL CHECK (source IN ('event', 'api', 'import')),
    added_at    timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz CHECK (reason <> 'SPAM' OR expires_at IS NULL),
    job_id      uuid,
    note        text NOT NULL DEFAULT '',
    PRIMARY KEY (address_key, scope, reason)
);
CREATE INDEX email_suppression_newest ON email_suppression (added_at DESC, address_key);

CREATE TABLE email_content (
    content_id  uuid NOT NULL,                   -- keyed digest within its day: equal bodies share a row
    html        text,
    text        text,
    attachments jsonb,
    PRIMARY KEY (content_id)
) PARTITION BY RANGE (content_id);

CREATE TABLE email_job (
    job_id              uuid NOT NULL,
    message_id          uuid NOT NULL,
    template_id         integer,
    template_version    integer,                 -- null: the newest published at send time
    attempt             integer NOT NULL DEFAULT 0,
    deaths              smallint NOT NULL DEFAULT 0,
    tracked             boolean NOT NULL DEFAULT true,
    in_doubt            boolean NOT NULL DEFAULT false,
    expiry_given        boolean NOT NULL DEFAULT false,  -- by the client: no retry may outlive it
    due_at              timestamptz NOT NULL,
    scheduled_at        timestamptz,
    expires_at          timestamptz NOT NULL,
    created_at          timestamptz NOT NULL,
    sent_at             timestamptz,
    opened_at           timestamptz,
    clicked_at          timestamptz,
    complained_at       timestamptz,
    unsubscribed_at     timestamptz,
    campaign_id         uuid,
    content_id          uuid,
    claimed_by          uuid,
    status              text NOT NULL CHECK (status IN ('PENDING', 'QUEUED', 'SENDING', 'UNKNOWN', 'SENT',
                            'DELIVERED', 'BOUNCED', 'FAILED', 'SUPPRESSED', 'CANCELLED', 'EXPIRED')),
    stream              text NOT NULL CHECK (stream IN ('transactional', 'marketing')),
    to_address          text NOT NULL,
    address_key         text NOT NULL,
    from_address        text NOT NULL,
    subject             text,
    relay               text,
    provider_message_id text,
    template_vars       jsonb,
    addressing          jsonb,                   -- what To, Cc and Reply-To show; null: To is to_address
    headers             jsonb,
    tags                jsonb,
    metadata            jsonb,
    PRIMARY KEY (job_id)
) PARTITION BY RANGE (job_id);

-- The job table is the queue.
CREATE INDEX email_job_queue ON email_job (stream, due_at) WHERE status = 'PENDING';
-- Mails that two workers died of: taken one at a time, by a process of their own.
CREATE INDEX email_job_quarantine ON email_job (stream, due_at) WHERE status = 'PENDING' AND deaths >= 2;
-- Few rows at any time: what a dead worker held, and doubts waiting for their settlement.
CREATE INDEX email_job_held ON email_job (claimed_by) WHERE status = 'SENDING';
CREATE INDEX email_job_doubt ON email_job (due_at) WHERE status = 'UNKNOWN';

CREATE TABLE email_event (
    job_id              uuid NOT NULL,
    event_id            uuid NOT NULL,
    occurred_at         timestamptz NOT NULL,
    received_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempt             integer NOT NULL,
    smtp_code           smallint,
    template_version    integer,
    machine             boolean NOT NULL DEFAULT false,
    type                text NOT NULL,
    origin              text NOT NULL,
    bounce_class        text,
    relay               text,
    provider_message_id text,
    enhanced_code       text,
    reason              text,
    diagnostic          text,
    url                 text,
    user_agent          text,
    raw                 bytea,
    PRIMARY KEY (job_id, event_id)
) PARTITION BY RANGE (job_id);

CREATE TABLE link (
    link_hash bytea NOT NULL,
    month     date NOT NULL,
    url       text NOT NULL,
    PRIMARY KEY (link_hash, month)
) PARTITION BY RANGE (month);

CREATE TABLE worker (
    instance_id uuid PRIMARY KEY,
    role        text NOT NULL,
    stream      text,
    host        text NOT NULL,
    pid         integer NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    dead_at     timestamptz
);

-- The two sides of the books, written apart. Rows are appended and folded together later.
CREATE TABLE acceptance_ledger (
    day         date NOT NULL,
    stream      text NOT NULL,
    campaign_id uuid,
    n           bigint NOT NULL
);
CREATE INDEX acceptance_ledger_day ON acceptance_ledger (day);
CREATE TABLE job_delta (
    day         date NOT NULL,
    stream      text NOT NULL,
    campaign_id uuid,
    from_status text,                            -- null: the job was accepted
    to_status   text NOT NULL,
    n           bigint NOT NULL
);
CREATE INDEX job_delta_day ON job_delta (day);
-- Counted rows of events per day, so that a deleted event shows.
CREATE TABLE event_ledger (
    day date NOT NULL,
    n   bigint NOT NULL
);
CREATE INDEX event_ledger_day ON event_ledger (day);
CREATE TABLE day_closing (
    day         date NOT NULL,
    stream      text NOT NULL,
    campaign_id uuid,
    status      text NOT NULL,
    n           bigint NOT NULL
);
CREATE INDEX day_closing_day ON day_closing (day);

CREATE TABLE relay_inbox (
    inbox_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relay       text NOT NULL,
    account     text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    not_before  timestamptz NOT NULL DEFAULT '-infinity',
    headers     jsonb NOT NULL,
    body        bytea NOT NULL
);

CREATE TABLE dead_letter (
    dead_letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source         text NOT NULL,
    reason         text NOT NULL,
    payload        bytea NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
