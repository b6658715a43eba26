-- name: bury
-- What could not be processed, with its reason.
INSERT INTO dead_letter (source, reason, payload) SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]);

-- name: dead_letters_by_source
SELECT source, count(*) FROM dead_letter GROUP BY source ORDER BY source;

-- name: newest_dead_letters
SELECT dead_letter_id, source, reason, created_at, length(payload) AS bytes
FROM dead_letter
ORDER BY dead_letter_id DESC
LIMIT $1;
