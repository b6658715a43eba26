-- Queues: what was done must not lie about at the head of an index until a fifth of the table is dead.

ALTER TABLE webhook_event SET (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE webhook_delivery SET (autovacuum_vacuum_scale_factor = 0.02);
