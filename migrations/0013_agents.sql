-- +goose Up

-- What agents are, for people; which tools they have; and whether they may work.
ALTER TABLE agents
    ADD COLUMN description text NOT NULL DEFAULT '',
    ADD COLUMN tools       text[] NOT NULL DEFAULT '{}', -- names or prefix*; none is all
    ADD COLUMN disabled_at timestamptz,
    ADD COLUMN created_at  timestamptz NOT NULL DEFAULT now();

-- What roles say of tools: tool:NAME or tool:NAME:PATTERN. A denial of any role
-- falls only to an exception that is strictly narrower.
ALTER TABLE roles
    ADD COLUMN deny  text[] NOT NULL DEFAULT '{}',
    ADD COLUMN allow text[] NOT NULL DEFAULT '{}';
INSERT INTO roles (id, description, actions, agents, builtin) VALUES
    ('automation', 'What alerts and the program itself start: any agent, within the agent''s own rules.', '{incidents.respond}', '{*}', true)
    ON CONFLICT (id) DO NOTHING;

-- The roles of who is no user. actor is alert:SOURCE (the source's id) or
-- service:NAME, or ends with :* for all of its kind that have no row of their own.
CREATE TABLE actor_roles (
    actor      text PRIMARY KEY CHECK (actor ~ '^(alert|service):([*]|[A-Za-z0-9-]{1,64})$'),
    roles      text[] NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO actor_roles (actor, roles) VALUES ('alert:*', '{automation}'), ('service:*', '{automation}');

-- What an asked call does, as far as its text says (policy.Effect).
ALTER TABLE approvals ADD COLUMN effect text NOT NULL DEFAULT 'unknown'
    CHECK (effect IN ('reads', 'changes', 'destroys', 'privilege', 'exposure', 'unknown'));

-- The review of asked calls by a model: off until somebody turns it on. One row.
CREATE TABLE gatekeeper (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    enabled     boolean NOT NULL DEFAULT false,
    provider    text NOT NULL DEFAULT '', -- by name; empty: the default one
    threshold   text NOT NULL DEFAULT 'low' CHECK (threshold IN ('low', 'medium', 'high')),
    effects     text[] NOT NULL DEFAULT '{}' CHECK (effects <@ '{reads,changes,destroys,privilege,exposure}'::text[]),
    tools       text[] NOT NULL DEFAULT '{}',
    hourly      int NOT NULL DEFAULT 60 CHECK (hourly BETWEEN 1 AND 1000),
    version     bigint NOT NULL DEFAULT 1,
    updated_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO gatekeeper DEFAULT VALUES;

-- One review of one approval. Who inserts the row asks the model, for as long as
-- the token lives; a row that stays 'asked' has no answer, and people decide.
CREATE TABLE gatekeeper_reviews (
    approval_id uuid PRIMARY KEY REFERENCES approvals ON DELETE CASCADE,
    subject     bytea NOT NULL,  -- of the approval
    version     bigint NOT NULL, -- of the settings
    model       text NOT NULL,   -- provider and model
    provider_id uuid NOT NULL,
    token_hash  bytea UNIQUE,    -- opens the proxy for this review; null: answered from an earlier one
    state       text NOT NULL CHECK (state IN ('asked', 'rated', 'failed')),
    risk        text NOT NULL DEFAULT '' CHECK (risk IN ('', 'low', 'medium', 'high', 'critical')),
    reasoning   text NOT NULL DEFAULT '',
    approved    boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    ended_at    timestamptz
);
CREATE INDEX gatekeeper_reviews_known ON gatekeeper_reviews (subject, created_at DESC) WHERE state = 'rated';
CREATE INDEX gatekeeper_reviews_newest ON gatekeeper_reviews (created_at DESC);

GRANT SELECT, INSERT, UPDATE, DELETE ON actor_roles TO akmatori_api;
GRANT SELECT, UPDATE ON gatekeeper TO akmatori_api;
GRANT SELECT, INSERT, UPDATE (state, risk, reasoning, approved, ended_at, token_hash) ON gatekeeper_reviews TO akmatori_api;

GRANT SELECT (id, actions, agents, deny, allow) ON roles TO akmatori_gateway;
GRANT SELECT (username, disabled_at, roles) ON users TO akmatori_gateway;
GRANT SELECT (actor, roles) ON actor_roles TO akmatori_gateway;
GRANT INSERT (effect) ON approvals TO akmatori_gateway;
GRANT SELECT (provider_id, token_hash, state, expires_at) ON gatekeeper_reviews TO akmatori_proxy;

-- +goose Down
SELECT 1;
