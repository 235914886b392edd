-- +goose Up

-- What a run goes on from, and what it has cost so far, as the vendors say.
ALTER TABLE runs
    ADD COLUMN parent        uuid REFERENCES runs ON DELETE SET NULL, -- the run whose conversation it goes on with
    ADD COLUMN input_tokens  bigint NOT NULL DEFAULT 0,
    ADD COLUMN output_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN usd           double precision NOT NULL DEFAULT 0,
    ADD COLUMN unpriced      boolean NOT NULL DEFAULT false; -- usd leaves turns out whose price nobody knows
CREATE INDEX runs_by_parent ON runs (parent) WHERE parent IS NOT NULL;

-- What people say to a run. seq is its event in the timeline, so each has a
-- number; applied is set once, by the run that has read it. A run that ends
-- before that hands it on to the next.
CREATE TABLE run_messages (
    incident_id uuid NOT NULL REFERENCES incidents ON DELETE CASCADE,
    seq         bigint NOT NULL,
    run_id      uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    actor       text NOT NULL,
    text        text NOT NULL,
    at          timestamptz NOT NULL,
    applied     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (incident_id, seq)
);
CREATE INDEX run_messages_by_run ON run_messages (run_id, seq);

-- What people think of what a run found: the newest of each person.
CREATE TABLE finding_feedback (
    run_id      uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    actor       text NOT NULL,
    incident_id uuid NOT NULL REFERENCES incidents ON DELETE CASCADE,
    verdict     text NOT NULL CHECK (verdict IN ('right', 'wrong', 'partly')),
    comment     text NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (run_id, actor)
);
CREATE INDEX finding_feedback_by_incident ON finding_feedback (incident_id, at DESC);

-- What was done to services: deployments and the like. Kept for 90 days.
CREATE TABLE changes (
    id         uuid PRIMARY KEY,
    service    text NOT NULL,
    at         timestamptz NOT NULL,
    text       text NOT NULL,
    link       text NOT NULL,
    noted_by   text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX changes_newest ON changes (at DESC, id DESC);
CREATE INDEX changes_by_service ON changes (service, at DESC);

-- How much may be spent in a day, which begins at midnight UTC. Scope is 'all',
-- or a source. 0 is no bound.
CREATE TABLE budgets (
    scope      text PRIMARY KEY,
    runs       bigint NOT NULL CHECK (runs >= 0),
    tokens     bigint NOT NULL CHECK (tokens >= 0),
    usd        double precision NOT NULL CHECK (usd >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL
);

-- What was spent. Source is empty for incidents that people opened.
CREATE TABLE usage_days (
    day           date NOT NULL,
    source        text NOT NULL,
    runs          bigint NOT NULL DEFAULT 0,
    input_tokens  bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    usd           double precision NOT NULL DEFAULT 0,
    unpriced      bigint NOT NULL DEFAULT 0, -- turns that usd leaves out
    PRIMARY KEY (day, source)
);

-- Findings are found by the words of their incident and of their root cause.
ALTER TABLE findings ADD COLUMN words tsvector NOT NULL DEFAULT '';
UPDATE findings f SET words = s.words FROM incidents i JOIN incident_search s ON s.number = i.number WHERE i.id = f.incident_id;
CREATE INDEX findings_conclusive ON findings (at DESC) WHERE conclusive;
CREATE INDEX findings_words ON findings USING gin (words) WHERE conclusive;

GRANT SELECT, INSERT, UPDATE (run_id, applied) ON run_messages TO akmatori_api;
GRANT SELECT, INSERT, UPDATE (verdict, comment, at) ON finding_feedback TO akmatori_api;
GRANT SELECT, INSERT, DELETE ON changes TO akmatori_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON budgets TO akmatori_api;
GRANT SELECT, INSERT, UPDATE ON usage_days TO akmatori_api;

-- +goose Down
SELECT 1;
