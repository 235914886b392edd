-- +goose Up

-- Tokens for the gateway that no run has: of MCP clients, issued by an admin,
-- and of parts of this program, for minutes.
CREATE TABLE gateway_tokens (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    hash       bytea NOT NULL UNIQUE,
    actor      text NOT NULL,
    agent_id   text REFERENCES agents, -- whose rules count; a service has none: its tools are its rules
    tools      text[] NOT NULL CHECK (cardinality(tools) > 0),
    targets    text[] NOT NULL CHECK (cardinality(targets) > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL CHECK (expires_at <= created_at + interval '90 days'),
    revoked_at timestamptz,
    CHECK (actor LIKE 'user:%' AND agent_id IS NOT NULL OR actor LIKE 'service:%' AND expires_at <= created_at + interval '1 hour')
);
CREATE INDEX gateway_tokens_newest ON gateway_tokens (created_at);

GRANT SELECT, INSERT, UPDATE (revoked_at), DELETE ON gateway_tokens TO akmatori_api;
GRANT SELECT (id, name, hash, actor, agent_id, tools, targets, expires_at, revoked_at) ON gateway_tokens TO akmatori_gateway;

-- A call is known by its holder and its id. The holder is a run or, with
-- token_id, the token of that id. A call goes with its holder.
ALTER TABLE tool_calls
    DROP CONSTRAINT tool_calls_run_id_fkey,
    ADD COLUMN token_id uuid REFERENCES gateway_tokens ON DELETE CASCADE CHECK (token_id = run_id),
    ADD COLUMN of_run uuid GENERATED ALWAYS AS (CASE WHEN token_id IS NULL THEN run_id END) STORED REFERENCES runs ON DELETE CASCADE;
CREATE INDEX tool_calls_of_run ON tool_calls (of_run) WHERE of_run IS NOT NULL;
CREATE INDEX tool_calls_by_token ON tool_calls (token_id, created_at) WHERE token_id IS NOT NULL;
COMMENT ON COLUMN tool_calls.run_id IS 'the holder: a run or, if token_id says so, a gateway token';
COMMENT ON COLUMN tool_steps.run_id IS 'the holder, as in tool_calls';

-- Targets that speak HTTP.
ALTER TABLE targets
    ADD COLUMN scheme text NOT NULL DEFAULT '' CHECK (scheme IN ('', 'http', 'https')),
    ADD COLUMN path   text NOT NULL DEFAULT '',
    ADD COLUMN ca     text NOT NULL DEFAULT ''; -- PEM of who may have signed its certificate; empty: as the system says

-- What Zabbix shows changes nothing there. An agent whose rules already say
-- something of it, or of everything, is somebody's own.
UPDATE agents SET rules = rules || ARRAY[
    'allow:zabbix_problems',
    'allow:zabbix_hosts',
    'allow:zabbix_items',
    'allow:zabbix_history',
    'allow:zabbix_triggers',
    'allow:zabbix_events',
    'allow:zabbix_api(*.get)',
    'ask:zabbix_acknowledge'
] WHERE id = 'investigator' AND NOT EXISTS (SELECT FROM unnest(rules) AS r WHERE r ~ ':([*]|z)');

-- +goose Down
SELECT 1;
