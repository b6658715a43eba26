-- name: known_attachments
-- Those of $1 that are stored. $2, $3: lowest and highest id.
SELECT attachment_id FROM email_attachment
WHERE attachment_id = ANY($1::uuid[]) AND attachment_id >= $2 AND attachment_id <= $3;

-- name: insert_attachments
-- In key order; equal files of one day meet in one row.
INSERT INTO email_attachment (attachment_id, content)
SELECT * FROM unnest($1::uuid[], $2::bytea[])
ON CONFLICT DO NOTHING;

-- name: load_attachments
-- The bytes of the files of one set of mails. $2, $3: lowest and highest id.
SELECT attachment_id, content FROM email_attachment
WHERE attachment_id = ANY($1::uuid[]) AND attachment_id >= $2 AND attachment_id <= $3;
