-- What each consumer has handled. Ids are compared byte by byte, which the "C" collation does without
-- asking a locale. Rows are written once and deleted by age: an index on the age grows at its right end
-- only, and vacuum comes before a deleted day has become bloat.

-- +goose Up
CREATE TABLE IF NOT EXISTS {{table}} (
    consumer   VARCHAR(255) COLLATE "C" NOT NULL,
    event_id   VARCHAR(255) COLLATE "C" NOT NULL,
    handled_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
) WITH (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_analyze_scale_factor = 0.1
);
CREATE INDEX IF NOT EXISTS {{age_index}} ON {{table}} (handled_at);
