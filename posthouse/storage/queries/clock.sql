-- name: database_clock
-- Milliseconds since 1970 on the database's clock, with fractions.
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8;
