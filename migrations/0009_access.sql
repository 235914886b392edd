-- +goose Up

-- Who may do what. A user's powers are those of all their roles together; a
-- user without one can see and do nothing but end their session.
CREATE TABLE roles (
    id          text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9_-]{0,62}$'),
    description text NOT NULL DEFAULT '',
    actions     text[] NOT NULL, -- ops.Permission
    agents      text[] NOT NULL DEFAULT '{}', -- ids of agents that may be started; * is all
    builtin     boolean NOT NULL DEFAULT false,
    updated_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO roles (id, description, actions, agents, builtin) VALUES
    ('viewer', 'Sees incidents, alerts and what is configured; changes nothing.', '{read}', '{}', true),
    ('responder', 'Works on incidents and starts investigations.', '{read,incidents.respond}', '{*}', true),
    ('approver', 'A responder who also decides what agents may do.', '{read,incidents.respond,approvals.decide}', '{*}', true),
    ('admin', 'Everything, accounts and configuration included.',
        '{read,incidents.respond,approvals.decide,sources.manage,inventory.manage,agents.manage,accounts.manage,audit.read}', '{*}', true);

ALTER TABLE users
    ADD COLUMN roles       text[] NOT NULL DEFAULT '{admin}', -- those who are there already were all that
    ADD COLUMN disabled_at timestamptz;
ALTER TABLE users ALTER COLUMN roles DROP DEFAULT;

-- A token may do less than its user.
ALTER TABLE api_tokens
    ADD COLUMN actions    text[], -- null: all of its user's
    ADD COLUMN expires_at timestamptz;

-- A link with which somebody sets their password, once.
CREATE TABLE invitations (
    user_id    uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    hash       bytea NOT NULL UNIQUE,
    expires_at timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON roles, invitations TO akmatori_api;

-- +goose Down
SELECT 1;
