-- Jobs on their way to a topic: one row for each set of jobs that became QUEUED together. It stands until the
-- consumer group has gone past the last record of the set, so a set that was never produced, or whose records are
-- gone with their topic, is found without a look at the jobs.
CREATE TABLE dispatch (
    dispatch_id  uuid PRIMARY KEY,               -- claimed_by of its jobs
    stream       text NOT NULL CHECK (stream IN ('transactional', 'marketing')),
    job_ids      uuid[] NOT NULL,
    queued_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    topic_id     text,                           -- null: not all of its records are known to be in the topic
    partitions   integer[],                      -- where they are, and the last offset in each
    last_offsets bigint[]
);
-- Keys do not compress: trying costs more than storing them as they are.
ALTER TABLE dispatch ALTER COLUMN job_ids SET STORAGE EXTERNAL;
CREATE INDEX dispatch_unplaced ON dispatch (stream, queued_at) WHERE topic_id IS NULL;
CREATE INDEX dispatch_placed ON dispatch (stream, queued_at) WHERE topic_id IS NOT NULL;
