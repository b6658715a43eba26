-- name: lock_relay_list
-- One sync of an account's list at a time, in all processes. Held by the connection.
SELECT pg_try_advisory_lock(x'6c697374'::int, hashtext($1));

-- name: forget_other_places
-- Another list under the same account's name: what was known of the one before says nothing of it.
DELETE FROM relay_suppression WHERE account = $1 AND place <> $2;

-- name: mark_known
-- Entries of a page that stand here already, whoever put them there. One of theirs can be several of ours.
UPDATE relay_suppression AS r
SET state = 'there', since = p.since, words = p.words, reading = $2,
    changed_at = CASE WHEN r.state = 'there' THEN r.changed_at ELSE $3 END
FROM unnest($4::text[], $5::text[], $6::timestamptz[], $7::text[]) AS p (address_key, reads_as, since, words)
WHERE r.account = $1 AND r.address_key = p.address_key AND r.reads_as = p.reads_as;

-- name: mark_new
-- The others of the page, each key once in it. One that was ours for the same reason has become theirs.
INSERT INTO relay_suppression (account, address_key, reason, scope, reads_as, place, state, ours, since, words,
                               reading, changed_at)
SELECT $1, p.address_key, p.reads_as, p.scope, p.reads_as, $8, 'there', false, p.since, p.words, $2, $3
FROM unnest($4::text[], $5::text[], $6::timestamptz[], $7::text[], $9::text[])
     AS p (address_key, reads_as, since, words, scope)
WHERE NOT EXISTS (
    SELECT FROM relay_suppression AS r
    WHERE r.account = $1 AND r.address_key = p.address_key AND r.reads_as = p.reads_as
)
ORDER BY p.address_key, p.reads_as
ON CONFLICT (account, address_key, reason) DO UPDATE
SET reads_as = excluded.reads_as, state = 'there', ours = false, since = excluded.since, words = excluded.words,
    reading = excluded.reading, changed_at = excluded.changed_at;

-- name: listed_to_import
-- On their list, with no entry here that holds, and not taken away here since they listed it. What went from here
-- because it had gone from a relay's list concerns only what we put on the lists of others.
SELECT r.address_key, r.reason, r.scope, r.reads_as, r.since, r.words, false AS lifts
FROM relay_suppression AS r
WHERE r.account = $1 AND r.reading = $2 AND r.state = 'there' AND (r.address_key, r.reason) > ($4, $5)
  AND NOT EXISTS (
      SELECT FROM email_suppression AS e
      WHERE e.address_key = r.address_key AND e.reason = r.reason AND e.scope IN (r.scope, 'all')
        AND (e.expires_at IS NULL OR e.expires_at > $3)
  )
  AND NOT EXISTS (
      SELECT FROM suppression_removal AS s
      WHERE s.address_key = r.address_key AND s.reason = r.reason AND (s.relay IS NULL OR r.ours AND s.relay <> r.account)
        AND s.removed_at >= coalesce(r.since, r.changed_at)
  )
ORDER BY r.address_key, r.reason
LIMIT $6;

-- name: import_listed
-- An entry that has ended is none. Sorted, as every write of several entries.
WITH made AS (
    INSERT INTO email_suppression (address_key, scope, reason, source, added_at, note)
    SELECT address_key, scope, reason, 'import', $2, note
    FROM unnest($3::text[], $4::text[], $5::text[], $6::text[]) AS s (address_key, reason, scope, note)
    ORDER BY address_key, scope, reason
    ON CONFLICT (address_key, scope, reason) DO UPDATE
    SET source = excluded.source, added_at = excluded.added_at, expires_at = NULL, job_id = NULL,
        note = excluded.note
    WHERE email_suppression.expires_at <= excluded.added_at
    RETURNING address_key, reason
)
UPDATE relay_suppression AS r SET imported_at = $2, ours = false
FROM made WHERE r.account = $1 AND r.address_key = made.address_key AND r.reason = made.reason;

-- name: listed_to_take_off
-- On their list, and taken away here since they listed it. One of theirs that stands for another entry of ours as
-- well stays for that one.
SELECT r.address_key, r.reason, r.scope, r.reads_as, r.since, r.words, false AS lifts
FROM relay_suppression AS r
WHERE r.account = $1 AND r.reading = $2 AND r.state = 'there' AND (r.address_key, r.reason) > ($4, $5)
  AND EXISTS (
      SELECT FROM suppression_removal AS s
      WHERE s.address_key = r.address_key AND s.reason = r.reason AND (s.relay IS NULL OR r.ours AND s.relay <> r.account)
        AND s.removed_at >= coalesce(r.since, r.changed_at)
  )
  AND NOT EXISTS (
      SELECT FROM relay_suppression AS o
      JOIN email_suppression AS e ON e.address_key = o.address_key AND e.reason = o.reason
      WHERE o.account = r.account AND o.address_key = r.address_key AND o.reads_as = r.reads_as
        AND (e.expires_at IS NULL OR e.expires_at > $3)
  )
ORDER BY r.address_key, r.reason
LIMIT $6;

-- name: forget_listed
-- What was taken off there.
DELETE FROM relay_suppression AS r
USING unnest($2::text[], $3::text[]) AS k (address_key, reason)
WHERE r.account = $1 AND r.address_key = k.address_key AND r.reason = k.reason;

-- name: count_listed
-- How many the last reading found, and how many it missed.
SELECT count(*) FILTER (WHERE reading = $2), count(*) FILTER (WHERE reading <> $2)
FROM relay_suppression WHERE account = $1 AND state = 'there';

-- name: listed_that_went
-- Missed by a whole reading. $3: what we put there after this time may not be shown yet. `lifts`: an entry stands
-- here that came from relays' lists alone, and no other relay has it. A complaint stays all the same: only
-- somebody with a reason sets it aside.
SELECT r.address_key, r.reason, r.scope, r.reads_as, r.since, r.words, e.address_key IS NOT NULL AS lifts
FROM relay_suppression AS r
LEFT JOIN email_suppression AS e
       ON e.address_key = r.address_key AND e.reason = r.reason AND e.scope = r.scope AND e.source = 'import'
      AND r.reason <> 'SPAM'
      AND EXISTS (
          SELECT FROM relay_suppression AS i
          WHERE i.address_key = r.address_key AND i.reason = r.reason AND i.imported_at = e.added_at
      )
      AND NOT EXISTS (
          SELECT FROM relay_suppression AS o
          WHERE o.address_key = r.address_key AND o.reason = r.reason AND o.account <> r.account
            AND o.state = 'there' AND NOT o.ours
      )
WHERE r.account = $1 AND r.reading <> $2 AND r.state IN ('there', 'adding')
  AND NOT (r.ours AND r.state = 'there' AND r.changed_at > $3)
  AND (r.address_key, r.reason) > ($4, $5)
ORDER BY r.address_key, r.reason
LIMIT $6;

-- name: lift_listed
-- Entries that went with their relay's; answers how many. Written down as every removal, with whose list it was.
WITH gone AS (
    SELECT e.ctid FROM email_suppression AS e
    JOIN unnest($3::text[], $4::text[], $5::text[]) AS k (address_key, reason, scope)
      ON e.address_key = k.address_key AND e.reason = k.reason AND e.scope = k.scope AND e.source = 'import'
    ORDER BY e.address_key, e.scope, e.reason
    FOR UPDATE OF e
), removed AS (
    DELETE FROM email_suppression WHERE ctid IN (SELECT ctid FROM gone)
    RETURNING address_key, scope, reason, added_at, job_id
)
INSERT INTO suppression_removal (address_key, scope, reason, added_at, job_id, removed_at, why, relay)
SELECT address_key, scope, reason, added_at, job_id, $2, $6, $1 FROM removed;

-- name: mark_gone
-- What was only meant to be put there has never been: it is put there again.
WITH never AS (
    DELETE FROM relay_suppression AS r
    USING unnest($3::text[], $4::text[]) AS k (address_key, reason)
    WHERE r.account = $1 AND r.address_key = k.address_key AND r.reason = k.reason AND r.state = 'adding'
)
UPDATE relay_suppression AS r SET state = 'gone', changed_at = $2
FROM unnest($3::text[], $4::text[]) AS k (address_key, reason)
WHERE r.account = $1 AND r.address_key = k.address_key AND r.reason = k.reason AND r.state = 'there';

-- name: forget_gone
-- An entry that is put on our list anew is a new one for the relay as well.
DELETE FROM relay_suppression AS r
WHERE r.account = $1 AND r.state IN ('gone', 'refused')
  AND NOT EXISTS (
      SELECT FROM email_suppression AS e
      WHERE e.address_key = r.address_key AND e.reason = r.reason
  );

-- name: unlisted
-- Entries that the relay could have and has not heard of. Those that end are not given to it: it knows no end. Nor
-- those whose address it stops already: some have one reason for each address, and would lose theirs.
SELECT e.address_key, e.reason, e.scope
FROM email_suppression AS e
WHERE e.reason = ANY($2::text[]) AND e.scope = ANY($3::text[]) AND e.expires_at IS NULL
  AND (e.address_key, e.scope, e.reason) > ($4, $5, $6)
  AND NOT EXISTS (
      SELECT FROM relay_suppression AS r
      WHERE r.account = $1 AND r.address_key = e.address_key AND (r.reason = e.reason OR r.state = 'there')
  )
ORDER BY e.address_key, e.scope, e.reason
LIMIT $7;

-- name: begin_adding
-- Before the relay is asked: an answer that is lost must not make them theirs.
INSERT INTO relay_suppression (account, address_key, reason, scope, reads_as, place, state, ours, reading, changed_at)
SELECT $1, address_key, reason, scope, reads_as, $2, 'adding', true, $3, $4
FROM unnest($5::text[], $6::text[], $7::text[], $8::text[]) AS s (address_key, reason, scope, reads_as)
ORDER BY address_key, reason
ON CONFLICT (account, address_key, reason) DO NOTHING;

-- name: end_adding
UPDATE relay_suppression AS r SET state = s.state, words = s.words
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS s (address_key, reason, state, words)
WHERE r.account = $1 AND r.address_key = s.address_key AND r.reason = s.reason;

-- name: relay_list_synced
INSERT INTO relay_list_sync (account, ended_at) VALUES ($1, $2)
ON CONFLICT (account) DO UPDATE SET ended_at = excluded.ended_at;

-- name: relay_list_synced_at
SELECT ended_at FROM relay_list_sync WHERE account = $1;

-- name: relay_lists_of
-- Where an address stands on relays' own lists.
SELECT account, reason, since, words, ours, imported_at
FROM relay_suppression WHERE address_key = $1 AND state = 'there'
ORDER BY account, reason;
