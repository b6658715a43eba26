-- __names__ stand for what a parameter cannot be: a table, a partition, a bound. They are filled in from
-- constants and dates, never from input.

-- name: standing_partitions
-- Every table that is, was, or is about to be a partition, by its name.
SELECT c.relname::text,
       CASE WHEN i.inhrelid IS NULL THEN 'loose' WHEN i.inhdetachpending THEN 'detaching' ELSE 'attached' END
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND c.relname ~ '_p[0-9]+$';

-- name: try_partition_lock
-- Held by the session that makes or drops partitions until it ends. 0x706f7374 is "post".
SELECT pg_try_advisory_lock(x'706f7374'::int, 2);

-- name: create_partition
CREATE TABLE __partition__ (LIKE __parent__ INCLUDING ALL);

-- name: create_job_partition
-- Its rows are updated a few times each: room for that on every page, and vacuum early, since dead entries at
-- the head of the queue's index are read by every claim.
CREATE TABLE __partition__ (LIKE __parent__ INCLUDING ALL)
WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

-- name: attach_partition
ALTER TABLE __parent__ ATTACH PARTITION __partition__ FOR VALUES FROM ('__from__') TO ('__to__');

-- name: detach_partition
ALTER TABLE __parent__ DETACH PARTITION __partition__ CONCURRENTLY;

-- name: finish_detaching
ALTER TABLE __parent__ DETACH PARTITION __partition__ FINALIZE;

-- name: drop_partition
DROP TABLE __partition__;

-- name: open_jobs_between
-- Jobs of a range of ids that Posthouse still owes something: their partition must not go.
SELECT count(*) FROM email_job WHERE job_id >= $1 AND job_id < $2 AND status = ANY($3::text[]);

-- name: close_day
-- What stays of a day whose jobs go: counts, from the detached partition, in the transaction that drops it.
INSERT INTO day_closing (day, stream, campaign_id, status, n)
SELECT '__day__', stream, campaign_id, status, count(*) FROM __partition__ GROUP BY stream, campaign_id, status;
