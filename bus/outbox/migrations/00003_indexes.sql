-- One event id may be in several topics; retries have a small index of their own. An index that an
-- interrupted run left invalid is dropped and made again. CREATE INDEX CONCURRENTLY waits for the
-- transactions it meets, which stops no writer, so it has no lock_timeout. One process builds it: more
-- would take the processors that the writers need.

-- +goose NO TRANSACTION
-- +goose Up
-- +goose StatementBegin
DO $drop$
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass({{unique_index_literal}}) AND NOT indisvalid) THEN
        DROP INDEX {{unique_index_qualified}};
    END IF;
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass({{retry_index_literal}}) AND NOT indisvalid) THEN
        DROP INDEX {{retry_index_qualified}};
    END IF;
END
$drop$;
-- +goose StatementEnd
SET lock_timeout = 0;
SET max_parallel_maintenance_workers = 0;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {{unique_index}} ON {{table}} (event_id, topic);
CREATE INDEX CONCURRENTLY IF NOT EXISTS {{retry_index}} ON {{table}} (id) WHERE retry_count > 0;
RESET max_parallel_maintenance_workers;
SET lock_timeout = {{lock_timeout}};
