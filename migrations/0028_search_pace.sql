-- +goose Up

-- Since when an incident has been waiting to be indexed. One that gets alerts all
-- the time is indexed now and then, and not each time that somebody looks: all of
-- its words are written to the index again, and all of its alerts are read.
ALTER TABLE search_due ADD COLUMN since timestamptz NOT NULL DEFAULT clock_timestamp();

-- +goose Down
SELECT 1;
