-- +goose Up

-- Senders that sign what they send, and secrets that are replaced while the
-- old one is still in use.
ALTER TABLE sources
    ADD COLUMN auth          text NOT NULL DEFAULT 'secret' CHECK (auth IN ('secret', 'signature')),
    ADD COLUMN settings      jsonb,       -- of the kind
    ADD COLUMN secret_sealed bytea,       -- for the zone api, if auth is signature; secret_hash is then empty
    ADD COLUMN old_hash      bytea,       -- the secret before this one
    ADD COLUMN old_sealed    bytea,
    ADD COLUMN old_until     timestamptz; -- until when it counts

-- What loses alerts, or soon will, although nothing was refused.
CREATE TABLE source_warnings (
    source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
    code      text NOT NULL,
    text      text NOT NULL,
    count     bigint NOT NULL,
    at        timestamptz NOT NULL, -- the last time
    PRIMARY KEY (source_id, code)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON source_warnings TO akmatori_api;

ALTER TABLE deliveries ADD COLUMN truncated int NOT NULL DEFAULT 0; -- alerts that the sender left out

ALTER TABLE alerts ADD COLUMN kind text NOT NULL DEFAULT ''; -- no_data, error, internal, test; empty for all others

-- +goose Down
SELECT 1;
