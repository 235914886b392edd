-- +goose Up

-- What people have confirmed of findings: later investigations are offered it,
-- as hypotheses to be checked anew. incident_id and run_id are null once those
-- are deleted.
CREATE TABLE memories (
    id              uuid PRIMARY KEY,
    incident_id     uuid REFERENCES incidents ON DELETE SET NULL,
    incident_number bigint NOT NULL,
    run_id          uuid REFERENCES runs ON DELETE SET NULL,
    service         text NOT NULL CHECK (length(service) <= 100), -- empty: of any
    labels          text[] NOT NULL CHECK (cardinality(labels) <= 10), -- key:value; offered where all of them are
    pattern         text NOT NULL CHECK (length(pattern) BETWEEN 1 AND 1000),
    cause           text NOT NULL CHECK (length(cause) BETWEEN 1 AND 1000),
    fix             text NOT NULL CHECK (length(fix) <= 1500),
    evidence        text[] NOT NULL, -- calls of the run that the findings cite
    identities      text[] NOT NULL, -- digests of what was broken; only compared
    words           tsvector NOT NULL,
    confirmed_by    text NOT NULL, -- user:NAME, or rule:NAME
    confirmed_at    timestamptz NOT NULL,
    updated_by      text NOT NULL,
    updated_at      timestamptz NOT NULL,
    stale           boolean NOT NULL DEFAULT false, -- somebody says that it holds no more
    expires_at      timestamptz, -- not offered from then on; null: never
    offered         bigint NOT NULL DEFAULT 0,
    offered_at      timestamptz
);
CREATE UNIQUE INDEX memories_by_run ON memories (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX memories_by_incident ON memories (incident_id, id) WHERE incident_id IS NOT NULL;
CREATE INDEX memories_by_service ON memories (service, id);
CREATE INDEX memories_words ON memories USING gin (words);
CREATE INDEX memories_identities ON memories USING gin (identities);

-- To which investigations each was offered, so that each counts once.
CREATE TABLE memory_offers (
    memory_id uuid NOT NULL REFERENCES memories ON DELETE CASCADE,
    run_id    uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    PRIMARY KEY (memory_id, run_id)
);
CREATE INDEX memory_offers_by_run ON memory_offers (run_id);

-- Which findings become memories without a person: those stored after a rule
-- was changed last.
CREATE TABLE memory_rules (
    id             uuid PRIMARY KEY,
    name           text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    enabled        boolean NOT NULL DEFAULT false,
    source_id      uuid REFERENCES sources ON DELETE CASCADE, -- null: all
    service        text NOT NULL CHECK (length(service) <= 100), -- a name, or its beginning and *; empty: all
    min_confidence double precision NOT NULL CHECK (min_confidence BETWEEN 0.5 AND 1),
    needs_feedback boolean NOT NULL DEFAULT true, -- a person has called the findings right
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    updated_by     text NOT NULL
);
CREATE INDEX memory_rules_by_source ON memory_rules (source_id) WHERE source_id IS NOT NULL;

-- When findings became a memory, so that no rule brings back what somebody deleted.
ALTER TABLE findings ADD COLUMN remembered_at timestamptz;

GRANT SELECT, INSERT, UPDATE, DELETE ON memories, memory_rules TO akmatori_api;
GRANT SELECT, INSERT ON memory_offers TO akmatori_api;
GRANT UPDATE (remembered_at) ON findings TO akmatori_api;

-- What is deleted some time after it was of use (DB.DeleteExpired), and how the
-- oldest of it is found.
GRANT DELETE ON usage_days TO akmatori_api;
CREATE INDEX gateway_tokens_ended ON gateway_tokens (expires_at);
CREATE INDEX api_tokens_ended ON api_tokens (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX maintenance_windows_ended ON maintenance_windows (ends_at) WHERE ends_at IS NOT NULL;

-- +goose Down
SELECT 1;
