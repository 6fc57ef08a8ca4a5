-- The columns that a table made by hand lacks. Storage is a matter of its partitions.

-- +goose Up
ALTER TABLE {{table}}
    ADD COLUMN IF NOT EXISTS headers JSON,
    ADD COLUMN IF NOT EXISTS next_attempt_at TIMESTAMP WITH TIME ZONE;
