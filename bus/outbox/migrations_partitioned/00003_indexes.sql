-- Retries have a small index of their own, which each partition inherits. It is there unless the table was
-- made by hand; PostgreSQL builds the index of a partitioned table only while writers wait.

-- +goose Up
CREATE INDEX IF NOT EXISTS {{retry_index}} ON {{table}} (id) WHERE retry_count > 0;
