-- What the forwarder remembers: one row.

-- +goose Up
CREATE TABLE IF NOT EXISTS {{state_table}} (
    id          INTEGER PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    low_water   BIGINT NOT NULL DEFAULT 0,
    owner       TEXT,
    owned_since TIMESTAMP WITH TIME ZONE,
    beat_at     TIMESTAMP WITH TIME ZONE
);
INSERT INTO {{state_table}} (id) VALUES (1) ON CONFLICT (id) DO NOTHING;
