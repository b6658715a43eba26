-- What the whole API needs beside the main job: keys with scopes, sandboxed mail, attachments, lists.

ALTER TABLE api_key
    ADD COLUMN scopes       text[] NOT NULL DEFAULT '{manage,read,send}'
                            CHECK (scopes <@ '{manage,read,send}' AND scopes <> '{}'),
    ADD COLUMN sandbox      boolean NOT NULL DEFAULT false,  -- its mail never reaches a relay
    ADD COLUMN last_used_at timestamptz;                     -- to the minute

ALTER TABLE email_template ADD COLUMN archived_at timestamptz;  -- set: no new mail may name it

ALTER TABLE email_job
    ADD COLUMN sandbox   boolean NOT NULL DEFAULT false,
    ADD COLUMN no_repeat boolean NOT NULL DEFAULT false;     -- somebody wanted it cancelled while in doubt

-- Files, each once a day whatever number of mails they go with; email_content.attachments names them.
CREATE TABLE email_attachment (
    attachment_id uuid NOT NULL,                 -- keyed digest within its day
    content       bytea NOT NULL,
    PRIMARY KEY (attachment_id)
) PARTITION BY RANGE (attachment_id);

-- What mails are looked up by, as posting lists: 'r:' recipient, 't:' tag (name=value), 'k:' template, 'c:'
-- campaign. A table of its own, written once when a mail is accepted: as an index on email_job each change of
-- status would write every entry anew.
CREATE TABLE email_term (
    term   text NOT NULL,
    job_id uuid NOT NULL,
    PRIMARY KEY (term, job_id)
) PARTITION BY RANGE (job_id);

-- Rare ends, for lists by status: the common ones are found by walking the jobs.
CREATE INDEX email_job_ended ON email_job (status, job_id)
    WHERE status IN ('UNKNOWN', 'BOUNCED', 'FAILED', 'SUPPRESSED', 'CANCELLED', 'EXPIRED');
