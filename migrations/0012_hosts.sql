-- +goose Up

-- A credential that is disabled is not there for those who would open it.
ALTER TABLE credentials
    ADD COLUMN disabled_at timestamptz,
    ADD COLUMN rotated_at  timestamptz; -- when it got the secret that it has now; null: it is its first
GRANT SELECT (disabled_at, rotated_at) ON credentials TO akmatori_gateway, akmatori_proxy;
ALTER POLICY gateway_zone ON credentials USING (zone = 'tools' AND disabled_at IS NULL);
ALTER POLICY proxy_zone ON credentials USING (zone = 'egress' AND disabled_at IS NULL);

-- +goose Down
SELECT 1;
