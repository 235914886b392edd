-- +goose Up

-- What model each provider of a run had when it was claimed: the proxy lets the run
-- ask for that one, whatever an admin makes of the provider meanwhile.
ALTER TABLE runs ADD COLUMN models jsonb NOT NULL DEFAULT '{}'; -- by provider_id
GRANT SELECT (models) ON runs TO akmatori_proxy;

-- +goose Down
ALTER TABLE runs DROP COLUMN models;
