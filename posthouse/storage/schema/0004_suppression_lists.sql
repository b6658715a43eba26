-- An import gives all its entries one time: a page must begin in the midst of them, and a list of one reason must
-- not walk through all the others.

DROP INDEX email_suppression_newest;
CREATE INDEX email_suppression_newest ON email_suppression (added_at DESC, address_key, scope, reason);
CREATE INDEX email_suppression_of_reason ON email_suppression (reason, added_at DESC, address_key, scope);
