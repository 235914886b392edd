-- +goose Up

-- Filters of the list of incidents under a name: a user's own, for others to see
-- if it is shared.
CREATE TABLE views (
    id         uuid PRIMARY KEY,
    owner      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name       text NOT NULL,
    filter     jsonb NOT NULL,
    shared     boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (owner, name)
);
CREATE INDEX views_shared ON views (name) WHERE shared;

GRANT SELECT, INSERT, UPDATE (name, filter, shared, updated_at), DELETE ON views TO akmatori_api;

-- +goose Down
SELECT 1;
