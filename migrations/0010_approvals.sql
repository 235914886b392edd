-- +goose Up

-- Who a run acts for, since when it started: alert:SOURCE, user:NAME, service:NAME.
ALTER TABLE runs
    ADD COLUMN actor  text NOT NULL DEFAULT 'service:intake',
    ADD COLUMN parked int NOT NULL DEFAULT 0; -- claims that ended with a wait for people

-- A call that somebody must allow. The gateway inserts, the api decides.
CREATE TABLE approvals (
    id          uuid PRIMARY KEY,
    run_id      uuid REFERENCES runs ON DELETE CASCADE,
    token_id    uuid REFERENCES gateway_tokens ON DELETE CASCADE,
    holder      uuid NOT NULL GENERATED ALWAYS AS (coalesce(run_id, token_id)) STORED,
    call_id     text NOT NULL,
    incident_id uuid REFERENCES incidents ON DELETE CASCADE,
    agent       text NOT NULL,
    requester   text NOT NULL,
    tool        text NOT NULL,
    target      text NOT NULL,
    command     text NOT NULL, -- the canonical one, which is what runs
    arguments   json NOT NULL,
    subject     bytea NOT NULL, -- what is done where and with what: what a grant is for
    digest      bytea NOT NULL, -- that, for this call of this holder under these rules
    risk        text NOT NULL CHECK (risk IN ('low', 'medium', 'high', 'critical')),
    reasons     text[] NOT NULL,
    facts       jsonb NOT NULL,
    needed      int NOT NULL CHECK (needed BETWEEN 1 AND 10),
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'approved', 'denied', 'expired', 'void')),
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    decided_at  timestamptz,
    noted       boolean NOT NULL DEFAULT false, -- it is on the timeline
    CHECK ((run_id IS NULL) <> (token_id IS NULL)),
    UNIQUE (holder, call_id, digest)
);
CREATE INDEX approvals_newest ON approvals (created_at DESC, id DESC);
CREATE INDEX approvals_pending ON approvals (expires_at) WHERE state = 'pending';
CREATE INDEX approvals_unnoted ON approvals (created_at) WHERE NOT noted;
CREATE INDEX approvals_by_incident ON approvals (incident_id, created_at DESC);
CREATE INDEX approvals_by_holder ON approvals (holder, created_at DESC);

CREATE TABLE approval_decisions (
    approval_id uuid NOT NULL REFERENCES approvals ON DELETE CASCADE,
    user_id     uuid NOT NULL,
    username    text NOT NULL,
    approve     boolean NOT NULL,
    reason      text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (approval_id, user_id)
);

-- An approval is used once because this is inserted once.
CREATE TABLE approval_uses (
    approval_id uuid PRIMARY KEY REFERENCES approvals ON DELETE CASCADE,
    at          timestamptz NOT NULL
);

-- This very thing may be done in this incident without asking again, for a while.
CREATE TABLE approval_grants (
    id          uuid PRIMARY KEY,
    approval_id uuid NOT NULL REFERENCES approvals ON DELETE CASCADE,
    incident_id uuid NOT NULL REFERENCES incidents ON DELETE CASCADE,
    subject     bytea NOT NULL,
    tool        text NOT NULL,
    target      text NOT NULL,
    command     text NOT NULL,
    granted_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL CHECK (expires_at <= created_at + interval '24 hours'),
    revoked_at  timestamptz,
    revoked_by  text NOT NULL DEFAULT ''
);
CREATE INDEX approval_grants_live ON approval_grants (incident_id, subject) WHERE revoked_at IS NULL;
CREATE INDEX approval_grants_newest ON approval_grants (created_at DESC, id DESC);

GRANT SELECT, UPDATE (state, expires_at, decided_at, noted) ON approvals TO akmatori_api;
GRANT SELECT ON approval_uses TO akmatori_api;
GRANT SELECT, INSERT ON approval_decisions TO akmatori_api;
GRANT SELECT, INSERT, UPDATE (revoked_at, revoked_by) ON approval_grants TO akmatori_api;

GRANT SELECT, INSERT (id, run_id, token_id, call_id, incident_id, agent, requester, tool, target, command, arguments, subject, digest,
    risk, reasons, facts, needed, created_at, expires_at) ON approvals TO akmatori_gateway;
GRANT SELECT, INSERT ON approval_uses TO akmatori_gateway;
GRANT SELECT ON approval_grants, approval_decisions TO akmatori_gateway;
GRANT SELECT (actor) ON runs TO akmatori_gateway;
GRANT SELECT (username, disabled_at) ON users TO akmatori_gateway;

-- +goose Down
SELECT 1;
