-- +goose Up

-- How alerts become incidents.

-- First match wins, in the order of position.
CREATE TABLE grouping_rules (
    id             uuid PRIMARY KEY,
    name           text NOT NULL UNIQUE,
    position       int NOT NULL,
    enabled        boolean NOT NULL,
    match          text NOT NULL,
    key            text NOT NULL,             -- template; empty: the sender's group
    window_kind    text NOT NULL CHECK (window_kind IN ('', 'rolling', 'fixed')),
    window_seconds int NOT NULL,
    min_severity   text NOT NULL,
    investigate    boolean NOT NULL,
    agent          text NOT NULL,             -- empty: the default one
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);

-- Planned work: what is covered is not investigated.
CREATE TABLE maintenance_windows (
    id         uuid PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    enabled    boolean NOT NULL,
    match      text NOT NULL,
    starts_at  timestamptz, -- once: from when to when; weekly: the bounds, if there are any
    ends_at    timestamptz,
    days       text[] NOT NULL, -- weekly, else empty
    start_time text NOT NULL,
    minutes    int NOT NULL,
    time_zone  text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Changes with each rule and window, so that intake reads them only when they have changed.
CREATE TABLE grouping_version (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version   bigint NOT NULL
);
INSERT INTO grouping_version (version) VALUES (1);

-- The newest incident of each group, open or not.
CREATE TABLE groups (
    key         text PRIMARY KEY,
    incident_id uuid NOT NULL REFERENCES incidents ON DELETE CASCADE,
    opened_at   timestamptz NOT NULL, -- the first alert of the group in this incident
    last_at     timestamptz NOT NULL  -- the newest one
);
CREATE INDEX groups_by_incident ON groups (incident_id);
INSERT INTO groups (key, incident_id, opened_at, last_at)
    SELECT DISTINCT ON (source_id, group_key) 'source:' || source_id || ':' || group_key, id, opened_at, coalesce(resolved_at, updated_at)
    FROM incidents WHERE source_id IS NOT NULL AND group_key <> ''
    ORDER BY source_id, group_key, status IN ('triggered', 'acknowledged') DESC, number DESC;
DROP INDEX incidents_open_group; -- what groups says instead

-- How many incidents a source opens, and the incident that collects the rest.
CREATE TABLE storms (
    source_id   uuid PRIMARY KEY REFERENCES sources ON DELETE CASCADE,
    since       timestamptz NOT NULL, -- the minute that is counted
    opened      int NOT NULL,         -- in it
    incident_id uuid REFERENCES incidents ON DELETE SET NULL, -- null: there is no storm
    last_at     timestamptz NOT NULL, -- of the newest group that it took in
    quiet_at    timestamptz           -- when the storm is over unless there is more
);
CREATE INDEX storms_active ON storms (quiet_at) WHERE incident_id IS NOT NULL;
CREATE INDEX storms_by_incident ON storms (incident_id) WHERE incident_id IS NOT NULL;

ALTER TABLE incidents
    ADD COLUMN edited            text[] NOT NULL DEFAULT '{}', -- fields that a person has set: alerts change them no more
    ADD COLUMN merged_into       uuid REFERENCES incidents ON DELETE SET NULL,
    ADD COLUMN resolved_by       text NOT NULL DEFAULT '',     -- system, or the person; only the system's is ever opened again
    ADD COLUMN resolve_at        timestamptz,                  -- the end of its flap hold
    ADD COLUMN reopened          int NOT NULL DEFAULT 0,
    ADD COLUMN transitions       int NOT NULL DEFAULT 0,       -- between firing and not
    ADD COLUMN flap_since        timestamptz,                  -- the hour that is counted
    ADD COLUMN flap_count        int NOT NULL DEFAULT 0,       -- transitions in it
    ADD COLUMN rule_id           uuid,                         -- the grouping rule that it was opened by
    ADD COLUMN agent_id          text NOT NULL DEFAULT '',     -- who is to investigate; empty: the default
    ADD COLUMN storm             boolean NOT NULL DEFAULT false,
    ADD COLUMN maintenance       text NOT NULL DEFAULT '',     -- the window that all its alerts are covered by
    ADD COLUMN maintenance_id    uuid,
    ADD COLUMN maintenance_until timestamptz;
CREATE INDEX incidents_held ON incidents (resolve_at) WHERE resolve_at IS NOT NULL;
CREATE INDEX incidents_maintained ON incidents (maintenance_until) WHERE maintenance_until IS NOT NULL;
CREATE INDEX incidents_merged ON incidents (merged_into) WHERE merged_into IS NOT NULL;

ALTER TABLE alerts ADD COLUMN why text NOT NULL DEFAULT ''; -- it is in its incident
-- What still fires; none of its columns changes when an alert is repeated.
CREATE INDEX alerts_open ON alerts (source_id, identity) WHERE status <> 'resolved';
CREATE INDEX alerts_newest ON alerts (source_id, identity, at DESC, id DESC);
-- Room for repetitions in the same page, so that they leave the indexes alone.
ALTER TABLE alerts SET (fillfactor = 80);

-- What the api does by itself from time to time, and when one of them last did.
CREATE TABLE chores (
    name   text PRIMARY KEY,
    ran_at timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON grouping_rules, maintenance_windows, groups, storms, chores TO akmatori_api;
GRANT SELECT, UPDATE ON grouping_version TO akmatori_api;

-- +goose Down
SELECT 1;
