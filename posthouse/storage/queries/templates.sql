-- name: insert_template
INSERT INTO email_template (key, name, created_at) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
RETURNING template_id;

-- name: lock_template
-- Versions are numbered one after another: who adds one holds the template.
SELECT template_id FROM email_template WHERE key = $1 FOR NO KEY UPDATE;

-- name: insert_template_version
INSERT INTO email_template_version (template_id, version, subject_template, html_template, text_template,
                                    variables, tracked, created_at, published_at)
SELECT $1, coalesce(max(version), 0) + 1, $2, $3, $4, $5, $6, $7, $8
FROM email_template_version
WHERE template_id = $1
RETURNING version;

-- name: publish_template_version
-- Publishing again changes nothing.
UPDATE email_template_version v
SET published_at = coalesce(v.published_at, $3)
FROM email_template t
WHERE t.key = $1 AND v.template_id = t.template_id AND v.version = $2;

-- name: template_by_key
SELECT template_id, key, name, created_at FROM email_template WHERE key = $1;

-- name: template_version_rows
-- The newest versions first.
SELECT version, subject_template, html_template, text_template, variables, tracked, created_at, published_at
FROM email_template_version
WHERE template_id = $1
ORDER BY version DESC
LIMIT $2;

-- name: usable_template_version
-- What a mail that names the template now would be made from. $2: a version, or null for the newest.
SELECT t.template_id, t.key, v.version, v.subject_template, v.html_template, v.text_template, v.variables,
       v.tracked
FROM email_template t
JOIN email_template_version v ON v.template_id = t.template_id
WHERE t.key = $1 AND v.published_at IS NOT NULL AND ($2::int IS NULL OR v.version = $2)
ORDER BY v.version DESC
LIMIT 1;
