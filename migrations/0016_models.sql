-- +goose Up

-- How a model is asked, what it costs here, and what a run does without it.
ALTER TABLE providers
    ADD COLUMN effort              text NOT NULL DEFAULT '' CHECK (effort IN ('', 'low', 'medium', 'high')),
    ADD COLUMN price_input         double precision CHECK (price_input >= 0), -- US dollars for a million tokens; null: the list price
    ADD COLUMN price_output        double precision CHECK (price_output >= 0),
    ADD COLUMN context_tokens      int NOT NULL DEFAULT 0 CHECK (context_tokens >= 0), -- 0: what is known of the model
    ADD COLUMN fallback            text REFERENCES providers (name) ON UPDATE CASCADE,
    ADD COLUMN fallback_on_account boolean NOT NULL DEFAULT false,
    ADD COLUMN patience_seconds    int NOT NULL DEFAULT 0 CHECK (patience_seconds BETWEEN 0 AND 3600),
    ADD COLUMN wait_minutes        int NOT NULL DEFAULT 0 CHECK (wait_minutes BETWEEN 0 AND 1440);
CREATE INDEX providers_by_fallback ON providers (fallback) WHERE fallback IS NOT NULL;

ALTER TABLE runs
    ADD COLUMN fallback_ids  uuid[] NOT NULL DEFAULT '{}', -- fixed at the claim, in order: the proxy lets the run reach these, too
    ADD COLUMN waiting_since timestamptz;                  -- for a model; null once one has answered

-- Tests of a provider that are under way: each token opens the proxy for one
-- provider and a minute.
CREATE TABLE provider_tests (
    id          uuid PRIMARY KEY,
    provider_id uuid NOT NULL REFERENCES providers ON DELETE CASCADE,
    token_hash  bytea NOT NULL UNIQUE,
    actor       text NOT NULL,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX provider_tests_old ON provider_tests (expires_at);
CREATE INDEX provider_tests_by_provider ON provider_tests (provider_id);

GRANT SELECT, INSERT, DELETE ON provider_tests TO akmatori_api;
GRANT SELECT (provider_id, token_hash, actor, expires_at) ON provider_tests TO akmatori_proxy;
GRANT SELECT (fallback_ids) ON runs TO akmatori_proxy;

-- +goose Down
SELECT 1;
