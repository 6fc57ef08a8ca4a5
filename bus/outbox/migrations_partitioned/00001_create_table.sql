-- The outbox table in partitions by id, for a database that has none yet. Its partitions are made apart;
-- each has an index of its own that refuses an event id twice, since one over all would need the id in it.

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
        ) PARTITION BY RANGE (id);
        CREATE INDEX {{retry_index}} ON {{table}} (id) WHERE retry_count > 0;
    END IF;
END
$create$;
-- +goose StatementEnd
