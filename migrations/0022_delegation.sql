-- +goose Up

-- What else an agent is: whom it may ask, and where and with what it works.
ALTER TABLE agents
    ADD COLUMN IF NOT EXISTS skills text[] NOT NULL DEFAULT '{*}', -- names; * is all
    ADD COLUMN sub_agents  text[] NOT NULL DEFAULT '{}', -- ids; never in a circle
    ADD COLUMN targets     text[] NOT NULL DEFAULT '{}', -- names or globs; none is all
    ADD COLUMN credentials text[] NOT NULL DEFAULT '{}'; -- names or globs; none is all

-- A run that another run asked for. It is claimed for its parent's worker alone,
-- never from the queue, and never outlives it. The key is the parent's call.
ALTER TABLE runs
    ADD COLUMN parent_run  uuid REFERENCES runs ON DELETE CASCADE,
    ADD COLUMN parent_call text,
    ADD COLUMN root_run    uuid,                        -- the first of its tree; null: itself
    ADD COLUMN depth       int NOT NULL DEFAULT 0 CHECK (depth BETWEEN 0 AND 3),
    ADD COLUMN chain       text[] NOT NULL DEFAULT '{}', -- the agents from the first to this one; empty: it alone
    ADD COLUMN task        json,                        -- what it was asked
    ADD COLUMN allotted    jsonb,                       -- its limits, cut from what its parent had left
    ADD COLUMN turns       int NOT NULL DEFAULT 0,      -- of the model
    ADD CONSTRAINT runs_parent CHECK ((parent_run IS NULL) = (parent_call IS NULL) AND (parent_run IS NULL) = (root_run IS NULL)
        AND (parent_run IS NULL) = (task IS NULL) AND (parent_run IS NULL) = (allotted IS NULL) AND (parent_run IS NULL) = (depth = 0));
CREATE UNIQUE INDEX runs_by_call ON runs (parent_run, parent_call) WHERE parent_run IS NOT NULL;
CREATE INDEX runs_by_root ON runs (root_run) WHERE root_run IS NOT NULL;

DROP INDEX runs_one_live;
CREATE UNIQUE INDEX runs_one_live ON runs (incident_id) WHERE state IN ('queued', 'running', 'waiting_approval') AND parent_run IS NULL;
DROP INDEX runs_queue;
CREATE INDEX runs_queue ON runs (priority, created_at) WHERE state = 'queued' AND parent_run IS NULL;

GRANT SELECT (chain) ON runs TO akmatori_gateway;

-- Agents to begin with. Who has made one of that name keeps theirs. Their prompts
-- come with the program while none is written here.
INSERT INTO agents (id, description, rules, tools, limits) VALUES
    ('reviewer', 'Checks findings against the evidence before they are submitted. It reads and changes nothing.', ARRAY[
        'allow:ssh_hosts',
        'allow:ssh_execute(@diagnostics)',
        'allow:ssh_read_file(@diagnostics)',
        'allow:zabbix_problems',
        'allow:zabbix_hosts',
        'allow:zabbix_items',
        'allow:zabbix_history',
        'allow:zabbix_triggers',
        'allow:zabbix_events',
        'allow:evidence_read',
        'allow:evidence_search',
        'deny:*'
    ], '{}', '{"steps": 8, "tool_calls": 12, "duration": 240000000000}'),
    ('summarizer', 'Writes a short summary for people of what it is told. It has no tools.', ARRAY['deny:*'], '{}',
        '{"steps": 3, "duration": 120000000000}')
    ON CONFLICT (id) DO NOTHING;
UPDATE agents SET description = 'Finds out what is wrong when alerts open an incident. It changes nothing.' WHERE id = 'investigator' AND description = '';
UPDATE agents SET sub_agents = '{reviewer}' WHERE id = 'investigator';

-- +goose Down
SELECT 1;
