-- name: books_snapshot
-- Rows and deltas move in one transaction, so one snapshot of both is exact whoever writes meanwhile.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: accepted_total
SELECT coalesce(sum(n), 0)::bigint FROM acceptance_ledger;

-- name: open_jobs
-- From what moved in and out of each state: the folded deltas are few, the jobs are many.
SELECT stream, status, sum(n)::bigint
FROM (SELECT stream, to_status AS status, n FROM job_delta
      UNION ALL
      SELECT stream, from_status, -n FROM job_delta WHERE from_status IS NOT NULL) AS moved
WHERE status = ANY($1::text[])
GROUP BY stream, status;

-- name: jobs_by_status
-- Jobs of every day, also of those whose partition is dropped and closed.
SELECT status, sum(n)::bigint
FROM (SELECT status, count(*) AS n FROM email_job GROUP BY status
      UNION ALL
      SELECT status, sum(n) FROM day_closing GROUP BY status) AS counted
GROUP BY status
ORDER BY status;

-- name: events_by_type
SELECT type, count(*), count(*) FILTER (WHERE machine) FROM email_event GROUP BY type ORDER BY type;

-- name: suppressions_by_reason
SELECT reason, count(*)
FROM email_suppression
WHERE expires_at IS NULL OR expires_at > now()
GROUP BY reason
ORDER BY reason;

-- name: books_differences
-- Where two sides that were written apart do not agree: accepted against counted jobs, counted jobs of a state
-- against what moved into and out of it, stored against counted events. The day of a row is that of its
-- partition, read from the partition's lower bound: by id every id would have to be looked at. A day whose
-- partition is detached and not yet dropped is in neither place and is left out; a day that is nowhere shows.
WITH partition_day AS (
    SELECT inhrelid AS partition, inhparent = 'email_job'::regclass AS of_jobs,
           (timestamp 'epoch' + interval '1 millisecond'
            * ('x' || lpad(replace(substring(pg_get_expr(relpartbound, pg_class.oid)
                                             FROM 'FROM \(''([0-9a-f]{8}-[0-9a-f]{4})'), '-', ''), 16, '0'))
              ::bit(64)::bigint)::date AS day
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent IN ('email_job'::regclass, 'email_event'::regclass) AND NOT inhdetachpending
), closed AS (
    SELECT DISTINCT day FROM day_closing
), leaving AS (
    SELECT day
    FROM (SELECT DISTINCT day FROM acceptance_ledger) AS booked
    WHERE to_regclass('email_job_p' || to_char(day, 'YYYYMMDD')) IS NOT NULL
      AND NOT EXISTS (SELECT FROM partition_day WHERE of_jobs AND partition_day.day = booked.day)
), live_job AS MATERIALIZED (
    SELECT tableoid AS partition, stream, campaign_id, status, count(*) AS n
    FROM email_job
    GROUP BY tableoid, stream, campaign_id, status
), job AS (
    SELECT day, stream, campaign_id, status, n FROM live_job JOIN partition_day USING (partition)
    UNION ALL
    SELECT day, stream, campaign_id, status, n FROM day_closing
), live_event AS (
    SELECT tableoid AS partition, count(*) AS n FROM email_event GROUP BY tableoid
), sides AS (
    SELECT 'accepted' AS books, day, stream, campaign_id, NULL AS status, n AS booked, 0 AS found
    FROM acceptance_ledger
    UNION ALL
    SELECT 'accepted', day, stream, campaign_id, NULL, 0, n FROM job
    UNION ALL
    SELECT 'status', day, stream, campaign_id, to_status, n, 0 FROM job_delta
    UNION ALL
    SELECT 'status', day, stream, campaign_id, from_status, -n, 0 FROM job_delta WHERE from_status IS NOT NULL
    UNION ALL
    SELECT 'status', day, stream, campaign_id, status, 0, n FROM job
    UNION ALL
    SELECT 'events', day, NULL, NULL, NULL, n, 0 FROM event_ledger
    UNION ALL
    SELECT 'events', day, NULL, NULL, NULL, 0, n FROM live_event JOIN partition_day USING (partition)
)
SELECT books, day, stream, campaign_id, status, sum(booked)::bigint, sum(found)::bigint
FROM sides
WHERE day NOT IN (SELECT day FROM leaving)
  -- Events of a closed day go with it, a moment after its jobs.
  AND NOT (books = 'events' AND day IN (SELECT day FROM closed))
GROUP BY books, day, stream, campaign_id, status
HAVING sum(booked) <> sum(found)
ORDER BY books, day, stream, campaign_id, status;

-- name: one_folder
-- One folds at a time, until this transaction ends; rows that are appended meanwhile are not touched.
SELECT pg_try_advisory_xact_lock(x'706f7374'::int, 2);

-- name: fold_acceptance_ledger
WITH crowded AS (
    SELECT DISTINCT day
    FROM (SELECT day, count(*) AS n FROM acceptance_ledger GROUP BY day, stream, campaign_id) AS groups
    WHERE n > 1
), gone AS (
    DELETE FROM acceptance_ledger WHERE day IN (SELECT day FROM crowded) RETURNING *
), folded AS (
    INSERT INTO acceptance_ledger (day, stream, campaign_id, n)
    SELECT day, stream, campaign_id, sum(n) FROM gone GROUP BY day, stream, campaign_id
    RETURNING day
)
SELECT (SELECT count(*) FROM gone) - (SELECT count(*) FROM folded);

-- name: fold_job_delta
WITH crowded AS (
    SELECT DISTINCT day
    FROM (SELECT day, count(*) AS n FROM job_delta
          GROUP BY day, stream, campaign_id, from_status, to_status) AS groups
    WHERE n > 1
), gone AS (
    DELETE FROM job_delta WHERE day IN (SELECT day FROM crowded) RETURNING *
), folded AS (
    INSERT INTO job_delta (day, stream, campaign_id, from_status, to_status, n)
    SELECT day, stream, campaign_id, from_status, to_status, sum(n)
    FROM gone
    GROUP BY day, stream, campaign_id, from_status, to_status
    RETURNING day
)
SELECT (SELECT count(*) FROM gone) - (SELECT count(*) FROM folded);

-- name: fold_event_ledger
WITH crowded AS (
    SELECT DISTINCT day
    FROM (SELECT day, count(*) AS n FROM event_ledger GROUP BY day) AS groups
    WHERE n > 1
), gone AS (
    DELETE FROM event_ledger WHERE day IN (SELECT day FROM crowded) RETURNING *
), folded AS (
    INSERT INTO event_ledger (day, n) SELECT day, sum(n) FROM gone GROUP BY day RETURNING day
)
SELECT (SELECT count(*) FROM gone) - (SELECT count(*) FROM folded);
