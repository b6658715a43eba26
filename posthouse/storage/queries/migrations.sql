-- name: create_schema_migration
-- Which migrations this database has, with the digest of each file as it was applied.
CREATE TABLE IF NOT EXISTS schema_migration (
    number     int PRIMARY KEY,
    name       text NOT NULL,
    sha256     bytea NOT NULL,
    phase      text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: has_schema_migration
SELECT to_regclass('schema_migration') IS NOT NULL;

-- name: applied_migrations
SELECT number, name, sha256, phase FROM schema_migration ORDER BY number;

-- name: record_migration
INSERT INTO schema_migration (number, name, sha256, phase) VALUES ($1, $2, $3, $4);

-- name: try_migration_lock
-- Held by the session that migrates until it ends. 0x706f7374 is "post".
SELECT pg_try_advisory_lock(x'706f7374'::int, 1);
