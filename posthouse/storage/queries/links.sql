-- name: store_links
-- Links of mails that are about to be handed over; one that this month has already is left alone. Inserted in
-- key order, because two workers store the links of one campaign at the same time. $3: first day of the month.
INSERT INTO link (link_hash, month, url)
SELECT link_hash, $3::date, url
FROM unnest($1::bytea[], $2::text[]) AS given (link_hash, url)
ORDER BY link_hash
ON CONFLICT DO NOTHING;

-- name: find_link
-- $2: the months (their first days) in which a mail with this link can have been sent.
SELECT url FROM link WHERE link_hash = $1 AND month = ANY($2::date[]) LIMIT 1;
