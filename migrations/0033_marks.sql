-- +goose Up

-- By what the api knows the secret of a configuration file again, which it has
-- sealed for another zone and cannot open: a keyed hash, bound as the seal is. The
-- key is in the ring of the zone api; without it a mark says nothing.
ALTER TABLE credentials ADD COLUMN mark bytea;

-- +goose Down
SELECT 1;
