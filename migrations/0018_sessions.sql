-- +goose Up

-- Sessions of browsers, so that their user and admins can see and end each. Those
-- of before end with this: they say nothing of whose they are.
DROP TABLE sessions;
CREATE TABLE sessions (
    id           uuid PRIMARY KEY,
    hash         bytea NOT NULL UNIQUE, -- of the token in the cookie
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(), -- to the minute
    expires_at   timestamptz NOT NULL,
    proven_at    timestamptz NOT NULL DEFAULT now(), -- when the password was last given
    address      text NOT NULL,
    browser      text NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id, created_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_last_seen ON sessions (last_seen_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO akmatori_api;
