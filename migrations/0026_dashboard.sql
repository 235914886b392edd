-- +goose Up

-- What the start page, the feed of alerts and the page on health are quick by.

-- The newest open incidents of each severity.
CREATE INDEX incidents_hot ON incidents (severity, number DESC) WHERE status IN ('triggered', 'acknowledged');

-- The ids of alerts are in the order of time (ops.NewID): the feed of all of
-- them is the primary key read backwards, and these are for its parts. They say
-- source and status in other words than intake does, so that its statements are
-- never planned with them: on a table without statistics, as a new one is in its
-- first storm, they look as good as those that find one alert, and read all of a
-- source's.
CREATE INDEX alerts_by_source ON alerts ((source_id::text), id DESC);
CREATE INDEX alerts_unresolved ON alerts (id DESC) WHERE status IN ('firing', 'acknowledged');

-- How much came in each hour, counted by a chore, so that no page counts alerts.
CREATE TABLE derived.noise_hours (
    at         timestamptz NOT NULL, -- the beginning of the hour
    source_id  uuid NOT NULL,
    deliveries bigint NOT NULL,
    alerts     bigint NOT NULL, -- that began
    incidents  bigint NOT NULL, -- that were opened
    PRIMARY KEY (at, source_id)
);

-- What began most often in the newest hours, made anew by a chore.
CREATE TABLE derived.noisiest (
    hours     int NOT NULL,
    rank      int NOT NULL,
    source_id uuid NOT NULL,
    identity  text NOT NULL,
    alerts    bigint NOT NULL,
    reports   bigint NOT NULL,
    incidents bigint NOT NULL,
    counted   timestamptz NOT NULL, -- from when on
    PRIMARY KEY (hours, rank)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON derived.noise_hours, derived.noisiest TO akmatori_api;

-- Which processes live: each says so every few seconds, with a row of its own,
-- as gateway and proxy change nothing; a chore of the api leaves the newest. They
-- speak for nobody else, and the time is the database's. It is in no backup.
CREATE TABLE derived.process_beats (
    instance   uuid NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('api', 'gateway', 'proxy')),
    version    text NOT NULL CHECK (length(version) <= 100),
    started_at timestamptz NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    detail     jsonb NOT NULL DEFAULT '{}' CHECK (octet_length(detail::text) <= 1 << 20), -- of an api: its workers and queues
    PRIMARY KEY (instance, at)
);
GRANT USAGE ON SCHEMA derived TO akmatori_gateway, akmatori_proxy;
GRANT INSERT (instance, kind, version, started_at, detail) ON derived.process_beats TO akmatori_api;
GRANT SELECT, DELETE ON derived.process_beats TO akmatori_api;
GRANT INSERT (instance, kind, version, started_at) ON derived.process_beats TO akmatori_gateway, akmatori_proxy;
ALTER TABLE derived.process_beats ENABLE ROW LEVEL SECURITY;
CREATE POLICY api_read ON derived.process_beats FOR SELECT TO akmatori_api USING (true);
CREATE POLICY api_prune ON derived.process_beats FOR DELETE TO akmatori_api USING (at < now() - interval '1 minute');
CREATE POLICY api_beat ON derived.process_beats FOR INSERT TO akmatori_api WITH CHECK (kind = 'api');
CREATE POLICY gateway_beat ON derived.process_beats FOR INSERT TO akmatori_gateway WITH CHECK (kind = 'gateway');
CREATE POLICY proxy_beat ON derived.process_beats FOR INSERT TO akmatori_proxy WITH CHECK (kind = 'proxy');

-- What a chore said when it last failed; it has been done since if ran_at is later.
ALTER TABLE chores
    ALTER COLUMN ran_at DROP NOT NULL, -- never done
    ADD COLUMN failed_at timestamptz,
    ADD COLUMN error     text NOT NULL DEFAULT '';

-- What was spent, by agent and by model. An agent's runs are counted, a model's turns.
CREATE TABLE usage_parts (
    day           date NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('agent', 'model')),
    name          text NOT NULL,
    n             bigint NOT NULL DEFAULT 0,
    input_tokens  bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    usd           double precision NOT NULL DEFAULT 0,
    unpriced      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (day, kind, name)
);
INSERT INTO usage_parts SELECT (started_at AT TIME ZONE 'UTC')::date, 'agent', agent_id, count(*), sum(input_tokens), sum(output_tokens), sum(usd), 0
    FROM runs WHERE started_at IS NOT NULL GROUP BY 1, 3;
GRANT SELECT, INSERT, UPDATE ON usage_parts TO akmatori_api;

-- When a model answered a test, and a target took a login, as it is configured now.
ALTER TABLE providers ADD COLUMN tested_at timestamptz;
ALTER TABLE targets ADD COLUMN tested_at timestamptz;

-- What concerns the whole deployment.
CREATE TABLE installation (
    one                 boolean PRIMARY KEY DEFAULT true CHECK (one),
    wizard_dismissed_at timestamptz, -- the way through the set-up is no longer offered
    wizard_dismissed_by text NOT NULL DEFAULT ''
);
INSERT INTO installation DEFAULT VALUES;
GRANT SELECT, UPDATE (wizard_dismissed_at, wizard_dismissed_by) ON installation TO akmatori_api;

-- +goose Down
SELECT 1;
