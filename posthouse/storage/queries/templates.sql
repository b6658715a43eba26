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

-- name: archive_template
-- Archiving again keeps the first time. $2 null: it is used again.
UPDATE email_template
SET archived_at = CASE WHEN $2::timestamptz IS NULL THEN NULL ELSE coalesce(archived_at, $2) END
WHERE key = $1;

-- name: template_by_key
-- The two newest versions are looked up one by one: each is the first row that the primary key gives, where an
-- aggregate would read all versions.
SELECT t.template_id, t.key, t.name, t.created_at, t.archived_at,
       (SELECT version FROM email_template_version v
        WHERE v.template_id = t.template_id ORDER BY version DESC LIMIT 1),
       (SELECT version FROM email_template_version v
        WHERE v.template_id = t.template_id AND published_at IS NOT NULL ORDER BY version DESC LIMIT 1)
FROM email_template t
WHERE t.key = $1;

-- name: templates_newest_first
-- $1: the last id of the page before, or null; $2: archived ones, or those in use.
SELECT t.template_id, t.key, t.name, t.created_at, t.archived_at,
       (SELECT version FROM email_template_version v
        WHERE v.template_id = t.template_id ORDER BY version DESC LIMIT 1),
       (SELECT version FROM email_template_version v
        WHERE v.template_id = t.template_id AND published_at IS NOT NULL ORDER BY version DESC LIMIT 1)
FROM email_template t
WHERE ($1::integer IS NULL OR t.template_id < $1) AND (t.archived_at IS NOT NULL) = $2
ORDER BY t.template_id DESC
LIMIT $3;

-- name: templates_by_key
-- $1: the last key of the page before, or an empty text; $2: archived ones, or those in use.
SELECT t.template_id, t.key, t.name, t.created_at, t.archived_at,
       (SELECT version FROM email_template_version v
        WHERE v.template_id = t.template_id ORDER BY version DESC LIMIT 1),
       (SELECT version FROM email_template_version v
        WHERE v.template_id = t.template_id AND published_at IS NOT NULL ORDER BY version DESC LIMIT 1)
FROM email_template t
WHERE t.key > $1 AND (t.archived_at IS NOT NULL) = $2
ORDER BY t.key
LIMIT $3;

-- name: template_version_summaries
-- The newest first, without their bodies: a hundred of them would be a hundred megabytes. $2: the last version
-- of the page before, or null.
SELECT version, subject_template, html_template IS NOT NULL, text_template IS NOT NULL, variables, tracked,
       created_at, published_at
FROM email_template_version
WHERE template_id = $1 AND ($2::integer IS NULL OR version < $2)
ORDER BY version DESC
LIMIT $3;

-- name: template_version_by_number
SELECT version, subject_template, html_template, text_template, variables, tracked, created_at, published_at
FROM email_template_version
WHERE template_id = $1 AND version = $2;

-- name: usable_template_version
-- What a mail that names the template now would be made from. $2: a version, or null for the newest.
SELECT t.template_id, t.key, v.version, v.subject_template, v.html_template, v.text_template, v.variables,
       v.tracked, t.archived_at IS NOT NULL
FROM email_template t
JOIN email_template_version v ON v.template_id = t.template_id
WHERE t.key = $1 AND v.published_at IS NOT NULL AND ($2::int IS NULL OR v.version = $2)
ORDER BY v.version DESC
LIMIT 1;
