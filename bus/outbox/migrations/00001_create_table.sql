-- The outbox table, for a database that has none yet. A table that exists is left to the next steps.
-- fillfactor 50, and no index that names processed_at, make settling a row a HOT update.

-- +goose Up
-- +goose StatementBegin
DO $create$
BEGIN
    IF to_regclass({{table_literal}}) IS NULL THEN
        CREATE TABLE {{table}} (
            id              BIGSERIAL PRIMARY KEY,
            event_id        VARCHAR(255) NOT NULL,
            topic           VARCHAR(255) NOT NULL,
            payload         BYTEA NOT NULL,
            key             BYTEA,
            created_at      TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
            processed_at    TIMESTAMP WITH TIME ZONE,
            error_message   TEXT,
            retry_count     INTEGER NOT NULL DEFAULT 0,
            max_retries     INTEGER NOT NULL DEFAULT 3,
            headers         JSON,
            next_attempt_at TIMESTAMP WITH TIME ZONE
        );
        CREATE UNIQUE INDEX {{unique_index}} ON {{table}} (event_id, topic);
        CREATE INDEX {{retry_index}} ON {{table}} (id) WHERE retry_count > 0;
    END IF;
END
$create$;
-- +goose StatementEnd
