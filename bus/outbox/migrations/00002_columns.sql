-- The columns that a table made by hand lacks, and storage for a table that works as a queue.
-- Waiting for SHARE UPDATE EXCLUSIVE stops no writer; holding it keeps autovacuum away, so that the
-- short wait for the exclusive lock meets writers only.

-- +goose Up
SET LOCAL lock_timeout = 0;
LOCK TABLE {{table}} IN SHARE UPDATE EXCLUSIVE MODE;
SET LOCAL lock_timeout = {{lock_timeout}};
ALTER TABLE {{table}}
    ADD COLUMN IF NOT EXISTS headers JSON,
    ADD COLUMN IF NOT EXISTS next_attempt_at TIMESTAMP WITH TIME ZONE,
    SET (
        fillfactor = 50,
        autovacuum_vacuum_scale_factor = 0.01,
        autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0.05,
        autovacuum_analyze_scale_factor = 0.05,
        autovacuum_vacuum_cost_delay = 1
    );
