-- Who let an address be mailed again, and why: a complaint that was set aside must be answered for.

CREATE TABLE suppression_removal (
    removal_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address_key text NOT NULL,
    scope       text NOT NULL,
    reason      text NOT NULL,
    added_at    timestamptz NOT NULL,            -- of the entry that was removed
    job_id      uuid,                            -- likewise
    removed_at  timestamptz NOT NULL,
    removed_by  uuid,                            -- the API key; null: the operator
    why         text NOT NULL
);
CREATE INDEX suppression_removal_address ON suppression_removal (address_key, removal_id);
