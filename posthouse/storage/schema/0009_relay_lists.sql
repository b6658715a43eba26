-- What each relay account's own suppression list held when it was last read, and what of ours stands on it: so that
-- the next reading tells what came, what went, and whose it was.

CREATE TABLE relay_suppression (
    account     text NOT NULL,
    address_key text NOT NULL,
    reason      text NOT NULL CHECK (reason IN ('BOUNCE', 'SPAM', 'UNSUBSCRIBE', 'MANUAL')),  -- of our entry
    scope       text NOT NULL CHECK (scope IN ('all', 'marketing')),                          -- likewise
    reads_as    text NOT NULL CHECK (reads_as IN ('BOUNCE', 'SPAM', 'UNSUBSCRIBE', 'MANUAL')), -- as the relay shows it
    place       text NOT NULL,                   -- which list of the relay's
    state       text NOT NULL CHECK (state IN ('there', 'adding', 'refused', 'gone')),
    ours        boolean NOT NULL,                -- we put it there, or mean to
    since       timestamptz,                     -- as the relay says
    words       text NOT NULL DEFAULT '',        -- the relay's
    reading     uuid NOT NULL,                   -- the last one that found it
    changed_at  timestamptz NOT NULL,            -- when it came into its state
    imported_at timestamptz,                     -- added_at of the entry that was made here for it
    PRIMARY KEY (account, address_key, reason)
);
CREATE INDEX relay_suppression_address ON relay_suppression (address_key, reason);

CREATE TABLE relay_list_sync (
    account  text PRIMARY KEY,
    ended_at timestamptz NOT NULL                -- of the last one that came to its end
);

-- Of an entry that went because it had gone from a relay's list; null: somebody here took it away.
ALTER TABLE suppression_removal ADD COLUMN relay text;
