-- name: notify
-- One hint on each of the channels.
SELECT pg_notify(channel, '') FROM unnest($1::text[]) AS channel;

-- name: ping
-- Whether the other end is still there.
SELECT 1;
