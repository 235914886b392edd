-- +goose Up

-- Bodies of deliveries are compressed by lz4, which takes a fraction of the time,
-- where the server was built with it. Those that are there stay as they are.
-- +goose StatementBegin
DO $$
BEGIN
    ALTER TABLE deliveries ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN
    RAISE NOTICE 'this server has no lz4: bodies are compressed as before';
END $$;
-- +goose StatementEnd

-- +goose Down
SELECT 1;
