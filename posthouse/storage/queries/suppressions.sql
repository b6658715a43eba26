-- name: suppression_page
-- Newest first. $1-$4: the last entry of the page before, or 'infinity' and empty texts; $5: only this scope, or
-- null. Two ranges of the index, since an import gives thousands one time: with "or" between them each page
-- would walk through all of these.
SELECT * FROM (
    (SELECT address_key, reason, scope, source, added_at, expires_at, job_id, note
     FROM email_suppression
     WHERE added_at = $1 AND (address_key, scope, reason) > ($2, $3, $4) AND ($5::text IS NULL OR scope = $5)
     ORDER BY address_key, scope, reason
     LIMIT $6)
    UNION ALL
    (SELECT address_key, reason, scope, source, added_at, expires_at, job_id, note
     FROM email_suppression
     WHERE added_at < $1 AND ($5::text IS NULL OR scope = $5)
     ORDER BY added_at DESC, address_key, scope, reason
     LIMIT $6)
) AS found
ORDER BY added_at DESC, address_key, scope, reason
LIMIT $6;

-- name: suppression_page_of_reason
-- The same for the entries with reason $5; $4: only this scope, or null.
SELECT * FROM (
    (SELECT address_key, reason, scope, source, added_at, expires_at, job_id, note
     FROM email_suppression
     WHERE reason = $5 AND added_at = $1 AND (address_key, scope) > ($2, $3)
       AND ($4::text IS NULL OR scope = $4)
     ORDER BY address_key, scope
     LIMIT $6)
    UNION ALL
    (SELECT address_key, reason, scope, source, added_at, expires_at, job_id, note
     FROM email_suppression
     WHERE reason = $5 AND added_at < $1 AND ($4::text IS NULL OR scope = $4)
     ORDER BY added_at DESC, address_key, scope
     LIMIT $6)
) AS found
ORDER BY added_at DESC, address_key, scope
LIMIT $6;

-- name: suppression_page_of_address
-- The same for the entries of address $5, which are a handful; $6, $7: only this reason, this scope, or null.
SELECT address_key, reason, scope, source, added_at, expires_at, job_id, note
FROM email_suppression
WHERE address_key = $5
  AND added_at <= $1
  AND (added_at < $1 OR (address_key, scope, reason) > ($2, $3, $4))
  AND ($6::text IS NULL OR reason = $6)
  AND ($7::text IS NULL OR scope = $7)
ORDER BY added_at DESC, address_key, scope, reason
LIMIT $8;

-- name: suppressions_of
SELECT address_key, reason, scope, source, added_at, expires_at, job_id, note
FROM email_suppression
WHERE address_key = $1
ORDER BY scope, reason;

-- name: add_suppression
-- One that is there already is kept; only its end may move, and never nearer. If it came from a relay's list, it is
-- somebody's here from now on, and does not go when the relay lets it go.
WITH claimed AS (
    UPDATE relay_suppression SET imported_at = NULL
    WHERE address_key = $1 AND reason = $3 AND imported_at IS NOT NULL
)
INSERT INTO email_suppression (address_key, scope, reason, source, added_at, expires_at, note)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (address_key, scope, reason) DO UPDATE
SET expires_at = CASE WHEN email_suppression.expires_at IS NULL OR excluded.expires_at IS NULL THEN NULL
                      ELSE greatest(email_suppression.expires_at, excluded.expires_at) END
RETURNING address_key, reason, scope, source, added_at, expires_at, job_id, note;

-- name: lock_suppressions
SELECT address_key, reason, scope, source, added_at, expires_at, job_id, note
FROM email_suppression
WHERE address_key = $1
ORDER BY address_key, scope, reason
FOR UPDATE;

-- name: remove_suppressions
-- What goes is written down in the same statement, so that nothing goes unexplained.
WITH removed AS (
    DELETE FROM email_suppression WHERE address_key = $1
    RETURNING address_key, scope, reason, added_at, job_id
)
INSERT INTO suppression_removal (address_key, scope, reason, added_at, job_id, removed_at, removed_by, why)
SELECT address_key, scope, reason, added_at, job_id, $2, $3, $4 FROM removed;

-- name: suppression_removals
-- The latest first.
SELECT reason, scope, added_at, removed_at, removed_by, why
FROM suppression_removal
WHERE address_key = $1
ORDER BY removal_id DESC
LIMIT $2;

-- name: suppression_causes
-- The mail whose event made an entry, and that event: of its kind the one whose time the entry bears, or the
-- first. A mail that was dropped with its day is not there any more. $2 and $3 are bounds of the milliseconds
-- of the ids (prunes partitions). LIMIT 1 keeps the planner from a hash join over all days.
SELECT c.job_id, c.made, c.type, j.message_id, j.stream, j.from_address, e.occurred_at, e.bounce_class, e.reason,
       e.smtp_code, e.enhanced_code, e.diagnostic
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::text[])
     AS c (job_id, first, past, type, added_at, made)
JOIN LATERAL (
    SELECT message_id, stream, from_address FROM email_job
    WHERE job_id = c.job_id AND job_id >= c.first AND job_id < c.past
    LIMIT 1
) j ON true
LEFT JOIN LATERAL (
    SELECT occurred_at, bounce_class, reason, smtp_code, enhanced_code, diagnostic FROM email_event
    WHERE job_id = c.job_id AND job_id >= c.first AND job_id < c.past AND type = c.type
    ORDER BY occurred_at <> c.added_at, received_at
    LIMIT 1
) e ON true;

-- name: import_suppressions
-- A set of a list, each key once in it; answers how many entries are new (xmax is 0 in a row that was inserted
-- and not updated). As with one entry: what is there is kept, and its end never moves nearer. Sorted: two
-- imports of overlapping lists lock in one order. What came from a relay's list does not go with it any more.
WITH claimed AS (
    UPDATE relay_suppression AS r SET imported_at = NULL
    FROM unnest($2::text[], $4::text[]) AS s (address_key, reason)
    WHERE r.address_key = s.address_key AND r.reason = s.reason AND r.imported_at IS NOT NULL
), stored AS (
    INSERT INTO email_suppression (address_key, scope, reason, source, added_at, expires_at, note)
    SELECT address_key, scope, reason, 'import', $1, expires_at, note
    FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
         AS s (address_key, scope, reason, expires_at, note)
    ORDER BY address_key, scope, reason
    ON CONFLICT (address_key, scope, reason) DO UPDATE SET expires_at = excluded.expires_at
    WHERE email_suppression.expires_at IS NOT NULL
      AND (excluded.expires_at IS NULL OR excluded.expires_at > email_suppression.expires_at)
    RETURNING xmax = 0 AS is_new
)
SELECT count(*) FILTER (WHERE is_new) FROM stored;
